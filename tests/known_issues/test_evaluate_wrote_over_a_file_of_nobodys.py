"""`evaluate` wrote its results over a `results.jsonl` that it had not made, without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluate_fixture import CONFIG, write_tones

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings


def test_a_file_that_no_evaluation_made_is_refused_by_name(tmp_path: Path) -> None:
    table = write_tones(tmp_path / "data")
    encoder = build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder")
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").write_text("mine\n")
    (out / "notes.txt").write_text("mine too\n")
    given = {"encoders": [str(encoder)], "data": str(table), "tasks": "sid", "steps": 2}
    settings = parse_settings(EvaluateSettings, {**given, "workers": 1, "out": out}, where="test")
    with pytest.raises(SettingsError, match="something else") as error:
        evaluate(settings)
    assert error.value.found == "results.jsonl"
    assert (out / "results.jsonl").read_text() == "mine\n"
    (out / "results.jsonl").unlink()
    evaluate(settings)
    assert (out / "notes.txt").read_text() == "mine too\n"
