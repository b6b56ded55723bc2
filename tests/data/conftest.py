from __future__ import annotations

import numpy as np
import pytest
import soundfile


@pytest.fixture(scope="session")
def tiny(synthetic_splits):
    """The tiny synthetic corpus, made once: split → cuts."""
    return synthetic_splits


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
