from __future__ import annotations

import torch
from lhotse.features.kaldi.layers import Wav2LogFilterBank

from speechft.encoders.kaldi_fbank import log_mel_filter_bank


def test_against_lhotse(waveforms):
    """The same filter banks as lhotse's Kaldi port, where neither is at its floor."""
    wave = waveforms[0][None]
    theirs = Wav2LogFilterBank(
        sampling_rate=16000,
        window_type="hamming",
        snip_edges=True,
        dither=0.0,
        num_filters=80,
        low_freq=20.0,
        high_freq=8000.0,
        energy_floor=0.0,
    )(wave)[0]
    ours = log_mel_filter_bank(wave)[0]
    assert ours.shape == theirs.shape == (98, 80)
    loud = theirs > -14.0
    assert float(loud.float().mean()) > 0.5
    torch.testing.assert_close(ours[loud], theirs[loud], atol=2e-3, rtol=1e-3)
    assert (ours - theirs)[loud].abs().max() < 0.05 * ours.std()


def test_frames_and_floor():
    assert log_mel_filter_bank(torch.zeros(2, 559)).shape == (2, 1, 80)
    silent = log_mel_filter_bank(torch.zeros(1, 560))
    assert silent.shape == (1, 2, 80)
    assert torch.allclose(silent.exp(), torch.tensor(1.1920929e-07))
