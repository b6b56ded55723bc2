from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.data.synthetic.corpus import synthetic_cuts


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny synthetic corpus, made once: split → cuts."""
    return synthetic_cuts("tiny", tmp_path_factory.mktemp("synthetic"))


@pytest.fixture
def tone(tmp_path):
    """Writes a tone and gives its path."""

    def write(
        name: str, seconds: float = 1.0, rate: int = 16000, channels: int = 1, hz: float = 200
    ):
        time = np.arange(int(seconds * rate)) / rate
        wave = 0.3 * np.sin(2 * np.pi * hz * time)[:, None].repeat(channels, axis=1)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, rate)
        return path

    return write


@pytest.fixture(scope="session")
def speech(tiny) -> list[Path]:
    """Files of synthetic speech."""
    return [Path(cut.recording.sources[0].source) for cuts in tiny.values() for cut in cuts]


@pytest.fixture
def lay(speech):
    """Writes synthetic speech as a WAV file of a corpus' tree; `seconds` cuts it."""
    files = itertools.cycle(speech)

    def write(path: Path, seconds: float | None = None) -> Path:
        wave, rate = soundfile.read(next(files))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave[: None if seconds is None else int(seconds * rate)], rate)
        return path

    return write
