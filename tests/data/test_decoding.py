"""Audio files as they come: every format and encoding, whole, cut short, streamed, or no audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechft.core.errors import DataError
from speechft.data.audio import read_audio
from speechft.data.decoding import audio_seconds

RATE = 16000
TONE = 0.3 * np.sin(2 * np.pi * 300 * np.arange(2 * RATE) / RATE)
FORMATS = {
    "8-bit.wav": {"subtype": "PCM_U8"},
    "24-bit.wav": {"subtype": "PCM_24"},
    "32-bit.wav": {"subtype": "PCM_32"},
    "float.wav": {"subtype": "FLOAT"},
    "double.wav": {"subtype": "DOUBLE"},
    "mu-law.wav": {"subtype": "ULAW"},
    "a-law.wav": {"subtype": "ALAW"},
    "adpcm.wav": {"subtype": "IMA_ADPCM"},
    "gsm.wav": {"subtype": "GSM610"},
    "extensible.wav": {"format": "WAVEX", "subtype": "PCM_24"},
    "24-bit.flac": {"subtype": "PCM_24"},
    "mu-law.sph": {"format": "NIST", "subtype": "ULAW"},
    "24-bit.sph": {"format": "NIST", "subtype": "PCM_24"},
    "SA1.WAV": {"format": "NIST", "subtype": "PCM_16"},
    "layer-3.mp3": {"subtype": "MPEG_LAYER_III"},
    "opus.ogg": {"format": "OGG", "subtype": "OPUS"},
    "vorbis.oga": {"format": "OGG", "subtype": "VORBIS"},
    "a.aiff": {},
    "a.au": {},
    "a.caf": {},
    "a.w64": {},
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_encoding_gives_the_same_tone(tmp_path, name):
    path = tmp_path / name
    soundfile.write(path, TONE, RATE, **FORMATS[name])
    wave = read_audio(path)
    assert wave.dtype == torch.float32
    assert 2 * RATE <= len(wave) <= 2 * RATE + 1200
    assert abs(audio_seconds(path) - len(wave) / RATE) < 0.08
    middle = wave[8000:24000]
    assert int(torch.fft.rfft(middle).abs().argmax()) == 300
    assert abs(float(middle.std()) - 0.3 / 2**0.5) < 0.01


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ULAW", "FLOAT"])
def test_every_rate_in_stereo(tmp_path, rate, subtype):
    time = np.arange(rate) / rate
    stereo = np.stack([0.5 * np.sin(2 * np.pi * 300 * time), np.zeros(rate)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, rate, subtype=subtype)
    wave = read_audio(tmp_path / "a.wav")
    wanted = 0.25 * torch.sin(2 * np.pi * 300 * torch.arange(RATE, dtype=torch.float64) / RATE)
    assert wave.shape == (RATE,)
    assert float((wave - wanted)[800:-800].abs().max()) < (0.01 if subtype == "ULAW" else 0.005)


@pytest.mark.parametrize("channels", [2, 3, 10, 32])
def test_channels_are_averaged(tmp_path, channels):
    generator = np.random.default_rng(0)
    samples = generator.uniform(-0.9, 0.9, (1000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [1, 3999, 2**31 - 1])
def test_rates_that_no_speech_has(tmp_path, rate):
    """A header with 1 Hz would turn a second of audio into 16,000."""
    soundfile.write(tmp_path / "a.wav", TONE, rate)
    with pytest.raises(DataError, match="sampling rate that no speech has"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("scale", [32768.0, 3e38])
def test_floats_on_another_scale_are_refused(tmp_path, scale):
    samples = np.stack([TONE, TONE], axis=1).astype(np.float32) * np.float32(scale)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(DataError, match="another scale"):
        read_audio(tmp_path / "a.wav")


def streamed_flac(path: Path) -> None:
    """Write a FLAC file that does not say how long it is, as a pipe leaves it."""
    soundfile.write(path, TONE, RATE)
    data = bytearray(path.read_bytes())
    field = slice(18, 26)
    number = int.from_bytes(data[field], "big") & ~((1 << 36) - 1)
    data[field] = number.to_bytes(8, "big")
    path.write_bytes(data)


def streamed_wav(path: Path) -> None:
    soundfile.write(path, TONE, RATE)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[4:8] = data[place : place + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)


@pytest.mark.parametrize("write", [streamed_flac, streamed_wav])
def test_streams_of_unknown_length(tmp_path, write):
    path = tmp_path / f"a.{write.__name__.removeprefix('streamed_')}"
    write(path)
    whole = read_audio(path)
    assert len(whole) == 2 * RATE
    assert audio_seconds(path) == 2.0
    assert torch.equal(read_audio(path, start=0.5, duration=0.25), whole[8000:12000])
    with pytest.raises(DataError, match="after the end"):
        read_audio(path, start=3.0)


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus", "a.flac", "a.sph", "gsm.wav"])
def test_a_part_is_what_the_whole_holds_there(tmp_path, name):
    """In MP3, frames borrow bits from earlier ones: after a jump the first come out damaged."""
    given = {"a.opus": {"format": "OGG", "subtype": "OPUS"}, "a.sph": {"format": "NIST"}}
    soundfile.write(tmp_path / name, TONE, RATE, **(given | FORMATS).get(name, {}))
    whole = read_audio(tmp_path / name)
    part = read_audio(tmp_path / name, start=0.5, duration=0.5)
    torch.testing.assert_close(part, whole[8000:16000], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["a.wav", "a.sph", "a.au", "a.aiff", "a.mp3", "a.ogg", "a.flac"])
def test_files_that_are_cut_short_are_said(tmp_path, name):
    given = {"format": "NIST"} if name == "a.sph" else {}
    soundfile.write(tmp_path / name, TONE, RATE, **given)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut short|cannot be decoded") as caught:
        read_audio(tmp_path / name)
    assert caught.value.where == str(tmp_path / name)


def test_what_is_no_audio_names_the_file_and_the_way_out(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(200))
    header = b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    (tmp_path / "b.sph").write_bytes(header.ljust(1024) + b"ajkg\x02" + bytes(3000))
    soundfile.write(tmp_path / "c.wav", TONE, RATE)
    (tmp_path / "c.wav").rename(tmp_path / "c.raw")
    (tmp_path / "d.wav").write_bytes(b"")
    (tmp_path / "e.wav").symlink_to("e.wav")
    (tmp_path / "f.wav").mkdir()
    hints = {"a.m4a": "ffmpeg", "b.sph": "sph2pipe", "c.raw": "decoded", "d.wav": "is empty"}
    hints |= {"e.wav": "no such audio file", "f.wav": "no such audio file"}
    for name, hint in hints.items():
        for read in (read_audio, audio_seconds):
            with pytest.raises(DataError, match=hint) as caught:
                read(tmp_path / name)
            assert caught.value.where == str(tmp_path / name)
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(DataError, match="no such audio file"):
            read_audio(name)
