"""A streamed FLAC does not know its length: 2.6 × 10^12 hours, and `--hours` took one utterance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechft.data.load import load_data
from speechft.tasks import TASKS
from speechft.training.finetune.data import read_task


def streamed(path: Path, seconds: float) -> None:
    """Write a FLAC file whose header says 0 samples, as a program does that writes to a pipe."""
    wave = 0.1 * np.random.default_rng(0).standard_normal(int(16000 * seconds))
    soundfile.write(path, wave, 16000, format="FLAC")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the last 36 bits of the first 18 bytes of STREAMINFO count the samples
    data[22:26] = bytes(4)
    path.write_bytes(data)


def test_durations_are_of_what_can_be_decoded(tmp_path: Path) -> None:
    rows = ["audio,speaker,split"]
    for number in range(6):
        streamed(tmp_path / f"{number}.flac", 1 + number % 3)
        rows.append(f"{number}.flac,s{number % 2},train")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    data = str(tmp_path / "t.csv")
    splits = load_data(data)
    assert sum(cut.duration for cut in splits["train"]) == pytest.approx(12.0)
    drawn = read_task(TASKS["sid"], splits, data, hours=7.5 / 3600).cuts
    assert 7.5 <= sum(cut.duration for cut in drawn) < 12
