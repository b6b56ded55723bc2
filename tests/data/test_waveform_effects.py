from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data import audio
from speechft.data.cuts import effects_of, heard_samples, with_effects
from speechft.data.utterances import Utterance, load_splits
from speechft.data.waveform_effects import GAIN, TRIM, apply_effects, crop, trim_silence
from speechft.tasks import asv


def plain_sox_silence(samples):
    """`silence 1 0.1 0.1% -1 0.1 0.1%` sample by sample, with its two holding buffers."""
    window, total, out, held, speaking = [0.0] * 320, 0.0, [], [], False
    for sample in samples:
        square = sample * sample
        loud = np.sqrt(max(total - window[0] + square, 0) / 320) > 0.001
        total += square - window.pop(0)
        window.append(square)
        if not speaking:
            held = [*held, sample] if loud else []
            if len(held) == 1600:
                out, held, speaking = out + held, [], True
        elif loud:
            out, held = [*out, *held, sample], []
        else:
            held.append(sample)
            if len(held) == 1600:
                held, speaking, window, total = [], False, [0.0] * 320, 0.0
    return np.array(out + held if speaking else out)


def test_trim_silence_equals_the_rule_sample_by_sample():
    random = np.random.default_rng(0)
    loud = [0.2 * random.normal(size=n) for n in (3000, 900, 2500, 4000)]
    quiet = [1e-4 * random.normal(size=n) for n in (2000, 1000, 5000, 1500)]
    wave = np.concatenate([x for pair in zip(quiet, loud, strict=True) for x in pair])
    for samples in (wave, np.concatenate([wave, quiet[2]]), np.concatenate([wave, quiet[1]])):
        expected = plain_sox_silence(samples)
        found = trim_silence(torch.from_numpy(samples), shortest=0).numpy()
        assert 0 < len(expected) < len(samples)
        np.testing.assert_array_equal(found, expected)


def test_lengths_behind_effects_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("SPEECHFT_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    utterances = []
    for i in range(3):
        wave = np.concatenate([np.zeros(8000), 0.1 * random.normal(size=16000 + i)])
        soundfile.write(tmp_path / f"{i}.wav", wave, 16000)
        utterances.append(Utterance(str(i), tmp_path / f"{i}.wav"))
    cuts = [with_effects(cut, [TRIM]) for cut in load_splits({"all": utterances}).splits["all"]]
    few = asv.heard_lengths(cuts)
    assert all(abs(n - 16000) < 50 for n in few)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(asv, "MANY", 3)
    measured = []
    original = audio.load_waveform
    monkeypatch.setattr(audio, "load_waveform", lambda c: measured.append(c) or original(c))
    assert asv.heard_lengths(cuts) == asv.heard_lengths(cuts) == few
    assert len(measured) == 3
    soundfile.write(tmp_path / "0.wav", 0.1 * random.normal(size=20000), 16000)
    assert asv.heard_lengths(cuts)[0] == 20000
    assert len(measured) == 6


def test_nothing_but_silence_stays_as_it_is():
    wave = torch.zeros(20000)
    assert trim_silence(wave) is wave


def test_effects_are_applied_in_order_and_travel_with_the_cut():
    wave = torch.linspace(-1, 1, 100)
    found = apply_effects(wave, [GAIN, crop(10, 20)])
    torch.testing.assert_close(found, wave[10:30] * 0.70794578)
    supervision = SupervisionSegment("a", "a", 0.0, 1.0, custom={"label": "x"})
    cut = MonoCut("a", 0.0, 1.0, 0, supervisions=[supervision])
    changed = with_effects(with_effects(cut, [GAIN]), [TRIM, crop(0, 50)], samples=50)
    assert effects_of(changed) == [GAIN, TRIM, "crop:0:50"]
    assert (heard_samples(cut), heard_samples(changed)) == (16000, 50)
    assert changed.supervisions[0].custom["label"] == "x"
    assert effects_of(cut) == []
    with pytest.raises(DataError, match="unknown effect"):
        apply_effects(wave, ["echo"])
