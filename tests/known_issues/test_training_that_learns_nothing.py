"""Pre-training that could learn nothing ended well, with a loss of 0 and an accuracy of 100 %.

Utterances not longer than a masked span are masked as a whole; speech of one unit, or without any
sound, has nothing to predict; a clip of 30 ms has no other frame to be told from.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechft import pretrain
from speechft.core.errors import DataError
from speechft.encoders import build_encoder
from speechft.training.pretrain.iteration import refuse_one_unit


@pytest.fixture
def settings(tmp_path: Path, tiny_config: dict[str, Any]) -> dict[str, Any]:
    build_encoder(tiny_config, seed=0).save(tmp_path / "init")
    of_run = {"init": str(tmp_path / "init"), "data": str(tmp_path / "a.csv")}
    return {**of_run, "steps": 1, "seconds": 4.0, "threads": 1, "out": tmp_path / "out"}


def speech(folder: Path, seconds: list[float], level: float = 0.1) -> None:
    rows = ["audio,split"]
    for number, length in enumerate(seconds):
        noise = np.random.default_rng(number).normal(0, 1, int(16000 * length))
        soundfile.write(folder / f"{number}.wav", level * noise, 16000, subtype="FLOAT")
        rows.append(f"{number}.wav,{'dev' if number == 0 else 'train'}")
    (folder / "a.csv").write_text("\n".join(rows))


@pytest.mark.parametrize("objective", ["contrastive", "masked-prediction"])
@pytest.mark.parametrize("seconds", [0.03, 0.2])
def test_utterances_not_longer_than_a_span(
    tmp_path: Path, settings: dict[str, Any], seconds: float, objective: str
) -> None:
    speech(tmp_path, [seconds] * 4)
    units = {"clusters": 2, "layer": 1} if objective == "masked-prediction" else {}
    with pytest.raises(DataError, match="no utterance is longer than a masked span"):
        pretrain(**settings, **units, objective=objective)


def test_silence(tmp_path: Path, settings: dict[str, Any]) -> None:
    speech(tmp_path, [0.5] * 4, level=1e-7)
    with pytest.raises(DataError, match="there is no sound"):
        pretrain(**settings, clusters=2, layer=1)


def test_one_unit_for_all_frames(caplog: pytest.LogCaptureFixture) -> None:
    one = [np.zeros(30, np.int32), np.zeros(9, np.int32)]
    with pytest.raises(DataError, match="one and the same unit"):
        refuse_one_unit(one, "DATA")
    refuse_one_unit([*one, np.ones(2, np.int32)], "DATA")
    assert "one unit stands for 95 % of all frames" in caplog.text


def test_a_part_that_is_too_short_is_said(
    tmp_path: Path, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    speech(tmp_path, [0.5, 0.1, 0.5, 0.5])
    with caplog.at_level(logging.WARNING):
        pretrain(**settings, clusters=2, layer=1)
    assert "1 of 3 utterances are not longer than a masked span of 10 frames" in caplog.text
