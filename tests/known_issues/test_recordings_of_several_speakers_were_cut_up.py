"""Cuts of a user's own serve diarization, and what to do for that is said.

A cut of several supervisions becomes as many utterances, so that no recording of several speakers
was left. The mark that keeps it whole was nowhere said.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from speechft.core.errors import DataError
from speechft.data.load import load_data
from speechft.tasks import TASKS


def recorded(folder: Path, **more: object) -> Path:
    folder.mkdir()
    soundfile.write(folder / "a.wav", 0.1 * np.ones(32_000), 16_000)
    recording = Recording.from_file(folder / "a.wav")
    turns = [SupervisionSegment(f"{n}", "a", float(n), 1.0, speaker=f"{n}") for n in range(2)]
    cut = MonoCut("a", 0.0, 2.0, 0, supervisions=turns, recording=recording, **more)
    CutSet.from_cuts([cut]).to_file(folder / "train.jsonl.gz")
    return folder


def test_the_message_says_how_recordings_stay_whole(tmp_path: Path) -> None:
    cut_up = load_data(str(recorded(tmp_path / "cut-up")))["train"]
    with pytest.raises(DataError) as refused:
        TASKS["sd"].from_cuts(cut_up)
    assert '"diarization": true' in str(refused.value.hint)
    whole = load_data(str(recorded(tmp_path / "whole", custom={"diarization": True})))["train"]
    assert TASKS["sd"].from_cuts(whole).output_size == 2
