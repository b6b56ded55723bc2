from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from speechft.core.errors import DataError
from speechft.data.audio import load_waveform, read_audio

FORMATS = {
    "a.wav": {"subtype": "PCM_16"},
    "a.flac": {},
    "a.mp3": {},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.sph": {"format": "NIST", "subtype": "PCM_16"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_reads_format(tmp_path, name):
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / name, wave, 16000, **FORMATS[name])
    read = read_audio(tmp_path / name)
    assert read.dtype == torch.float32
    assert abs(len(read) - 16000) <= 1200
    middle = read[4000:12000]
    assert abs(float(middle.std()) - 0.3 / 2**0.5) < 0.01
    spectrum = torch.fft.rfft(middle).abs()
    assert int(spectrum.argmax()) == 150


def test_resamples_and_mixes_channels(tmp_path, tone):
    time = np.arange(8000) / 8000
    left = 0.5 * np.sin(2 * np.pi * 300 * time)
    soundfile.write(tmp_path / "s.wav", np.stack([left, np.zeros(8000)], axis=1), 8000)
    wave = read_audio(tmp_path / "s.wav")
    assert wave.shape == (16000,)
    assert abs(float(wave[2000:14000].abs().max()) - 0.25) < 0.005
    assert int(torch.fft.rfft(wave).abs().argmax()) == 300


def test_reads_a_part(tone):
    path = tone("a.wav", seconds=2.0)
    whole = read_audio(path)
    part = read_audio(path, start=0.5, duration=0.25)
    assert torch.equal(part, whole[8000:12000])
    assert len(read_audio(path, start=1.75)) == 4000


def test_loads_a_cut(tiny):
    cut = next(iter(tiny["train"]))
    wave = load_waveform(cut)
    assert len(wave) == cut.num_samples
    half = cut.truncate(offset=0.5, duration=1.0)
    assert torch.equal(load_waveform(half), wave[8000:24000])
    np.testing.assert_allclose(wave, cut.load_audio()[0], atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_refuses_values_that_are_not_finite(tmp_path, value):
    wave = np.zeros(16000, dtype=np.float32)
    soundfile.write(tmp_path / "good.wav", wave, 16000, subtype="FLOAT")
    wave[5] = value
    soundfile.write(tmp_path / "bad.wav", wave, 16000, subtype="FLOAT")
    read_audio(tmp_path / "good.wav")
    with pytest.raises(DataError, match=r"not finite[\s\S]*bad.wav"):
        read_audio(tmp_path / "bad.wav")


def test_refuses_short_empty_missing_and_broken_files(tmp_path, tone):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16000)
    soundfile.write(tmp_path / "short.wav", np.zeros(399), 16000)
    soundfile.write(tmp_path / "enough.wav", np.zeros(400), 16000)
    # 300 samples at 8 kHz are 600 at 16 kHz.
    soundfile.write(tmp_path / "low.wav", np.zeros(300), 8000)
    (tmp_path / "text.wav").write_text("this is no audio")
    (tmp_path / "text.mp3").write_text("this is no audio")
    messages = {
        "empty.wav": "is empty",
        "short.wav": "too short",
        "missing.wav": "no such audio file",
        "text.wav": "cannot be decoded",
        "text.mp3": "no frame of MPEG audio",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message) as caught:
            read_audio(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)
    assert len(read_audio(tmp_path / "enough.wav")) == 400
    assert len(read_audio(tmp_path / "low.wav")) == 600
    with pytest.raises(DataError, match="after the end"):
        read_audio(tone("a.wav"), start=3.0)


def test_stays_within_one(tmp_path):
    wave = np.full(4000, 1.7, dtype=np.float32)
    soundfile.write(tmp_path / "loud.wav", wave, 16000, subtype="FLOAT")
    assert float(read_audio(tmp_path / "loud.wav").max()) == 1.0
