"""Texts of which normalising leaves nothing passed in silence, and all of a split failed late."""

from __future__ import annotations

import logging

import pytest

from speechft.core.errors import DataError
from speechft.data.load import load_data
from speechft.probing.inputs import read_data
from speechft.tasks import TASKS
from speechft.training.finetune.data import read_task


@pytest.fixture
def spec(tmp_path, tone):
    def write(*texts: str) -> str:
        rows = ["audio,text,speaker,split"]
        for n, text in enumerate(texts):
            tone(f"{n}.wav", seconds=0.1)
            rows.append(f"{n}.wav,{text},s{n % 2},{('train', 'dev', 'test')[n // 2]}")
        path = tmp_path / "t.csv"
        path.write_text("\n".join(rows))
        return str(path)

    return write


def test_a_split_without_any_is_refused_before_encoding(spec):
    data = spec("yes", "no", "no", "yes", "...", "?!")
    error = read_data(data, ["asr"]).label_error("asr", "clean")
    assert isinstance(error, DataError)
    assert "no utterance of a split has a label for the task 'asr'" in str(error)
    assert "t-000006, t-000007" in str(error)
    assert read_data(data, ["sid"]).label_error("sid", "clean") is None
    data = spec("yes", "no", "...", "?!", "no", "yes")
    with pytest.raises(DataError, match="no utterance of a split has a label"):
        read_task(TASKS["asr"], load_data(data), data)


def test_some_are_counted(spec, caplog):
    data = spec("yes", "...", "no", "yes", "no", "?!")
    with caplog.at_level(logging.WARNING, logger="speechft"):
        assert read_data(data, ["asr"]).label_error("asr", "clean") is None
    assert "asr: 1 of 2 utterances of a split have an empty reference: t-000003" in caplog.text
    assert caplog.text.count("empty reference") == 2
