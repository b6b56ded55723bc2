"""All texts were longer than the frames of their audio: nothing was learnt, and it ended well.

CTC needs a frame for each symbol, and one more between two equal ones.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from speechft import evaluate, finetune
from speechft.core.artifact import read_record
from speechft.core.errors import DataError
from speechft.core.files import read_jsonl
from speechft.encoders import build_encoder

LONG = "much longer than half a second of audio can hold, at fifty frames"


@pytest.fixture
def encoder(tmp_path: Path, tiny_config: dict[str, Any]) -> str:
    build_encoder(tiny_config, seed=0).save(tmp_path / "encoder")
    return str(tmp_path / "encoder")


def table(folder: Path, tone: Any, texts: list[str]) -> str:
    rows = ["audio\ttext\tsplit"]
    for number, text in enumerate([*texts, "yes", "no"]):
        tone(f"{number}.wav", seconds=0.5, hz=200 + 50 * number)
        split = {len(texts): "dev", len(texts) + 1: "test"}.get(number, "train")
        rows.append(f"{number}.wav\t{text}\t{split}")
    (folder / "t.tsv").write_text("\n".join(rows))
    return str(folder / "t.tsv")


def test_all_of_them_are_an_error(tmp_path: Path, tone: Any, encoder: str) -> None:
    data = table(tmp_path, tone, [LONG, LONG])
    said = r"no utterance has frames enough[\s\S]*2 utterances[\s\S]*task"
    with pytest.raises(DataError, match=said):
        finetune(encoder=encoder, task="asr", data=data, steps=1, out=tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    with pytest.raises(DataError, match=said):
        evaluate(encoders=[encoder], tasks=["asr"], data=data, steps=1, out=tmp_path / "scores")


def test_some_of_them_are_counted_and_said(
    tmp_path: Path, tone: Any, encoder: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = table(tmp_path, tone, ["yes", LONG, "no"])
    with caplog.at_level(logging.WARNING, logger="speechft"):
        run = finetune(encoder=encoder, task="asr", data=data, steps=1, out=tmp_path / "run")
    assert caplog.text.count("asr: 1 of 3 training utterances have fewer frames") == 1
    assert (read_record(run) or {})["unreachable"] == 1
    scores = evaluate(encoders=[encoder], tasks=["asr"], data=data, steps=1, out=tmp_path / "e")
    assert read_jsonl(scores / "results.jsonl")[0]["unreachable"]["train"] == 1
