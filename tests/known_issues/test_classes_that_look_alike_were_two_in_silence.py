"""`calm` and `Calm`, or one with a character that nobody sees: two classes in silence."""

from __future__ import annotations

import json
import logging

import pytest
from evaluate_fixture import evaluation

from speechft.core.logging import say_once
from speechft.core.nearest_names import look_alike
from speechft.data.check import check_data
from speechft.probing.evaluate import evaluate


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["calm", "angry", "calm\u200b"], [r"'calm', 'calm\u200b'"]),
        (["Calm", "calm", "CALM"], ["'CALM', 'Calm', 'calm'"]),
        (["caf\u00e9", "cafe\u0301"], [r"'cafe\u0301', 'caf\xe9'"]),
        (["new\u00a0york", "new york", "new yorks"], [r"'new york', 'new\xa0york'"]),
        (["calm", "calmer", "1", "11", "a b", "ab"], []),
    ],
)
def test_names_that_look_alike(names, groups):
    assert look_alike(names) == groups


def test_they_are_said_by_data_check_and_by_an_evaluation(evaluation_home, tmp_path, caplog):
    table = evaluation_home / "data" / "table.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for n, row in enumerate(rows):
        row["audio"] = str(table.parent / row["audio"])
        row["emotion"] = row["emotion"].capitalize() if n % 5 == 0 else row["emotion"]
    data = tmp_path / "own.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = "look alike and count as different ones: 'Calm', 'calm'"
    assert any(said in warning for warning in check_data(str(data)).warnings)
    assert not any("look alike" in warning for warning in check_data(str(table)).warnings)
    say_once.cache_clear()
    with caplog.at_level(logging.INFO):
        evaluate(evaluation(evaluation_home, tmp_path / "out", data=str(data), tasks="er"))
    assert caplog.text.count(said) == 1
