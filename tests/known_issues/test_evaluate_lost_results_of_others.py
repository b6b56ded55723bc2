"""`evaluate` of other data or another encoder into a folder with results replaced these unasked."""

from __future__ import annotations

import logging
import shutil

import pytest
from evaluate_fixture import evaluation, relabel

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.probing.evaluate import evaluate


@pytest.fixture
def out(evaluation_home, tmp_path):
    return evaluate(evaluation(evaluation_home, tmp_path / "out", tasks="sid,er", seeds=(0, 1)))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"encoders": "two"}, "encoder on"),
        ({"tasks": "sid"}, "encoder on er, seed 0"),
        ({"seeds": (1,)}, "seed 0"),
        ({"data": "other"}, "er of .*data"),
    ],
)
def test_results_are_not_lost(evaluation_home, out, values, words):
    given = {"tasks": "sid,er", "seeds": (0, 1), **values}
    if "encoders" in given:
        given["encoders"] = (("two", evaluation_home / "two"),)
    if "data" in given:  # the same file name in another folder
        given["data"] = str(evaluation_home / "other" / "table.jsonl")
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    with pytest.raises(SettingsError, match=r"would be lost[\s\S]*" + words) as caught:
        evaluate(evaluation(evaluation_home, out, **given))
    assert caught.value.exit_code == 2
    assert before == {f: f.read_bytes() for f in before}


def test_more_is_added_and_what_has_changed_is_measured_anew(
    evaluation_home, out, tmp_path, caplog
):
    old = read_jsonl(out / "results.jsonl")
    more = (("encoder", evaluation_home / "one"), ("two", evaluation_home / "two"))
    given = {"tasks": "sid,er", "seeds": (0, 1), "encoders": more}
    with caplog.at_level(logging.INFO):
        evaluate(evaluation(evaluation_home, out, **given))
    assert "what differs from before: encoders" in caplog.text
    assert caplog.text.count("hidden states of ") == 1
    rows = read_jsonl(out / "results.jsonl")
    assert [row for row in rows if row["encoder"] == "encoder"] == old
    assert len(rows) == 2 * len(old)
    moved = tmp_path / "moved"
    shutil.copytree(evaluation_home / "data", moved)
    given["data"] = str(moved / "table.jsonl")  # the same data at another place
    evaluate(evaluation(evaluation_home, out, **given))
    assert read_jsonl(out / "results.jsonl") == rows
    relabel(moved / "table.jsonl", "test")
    evaluate(evaluation(evaluation_home, out, **given))
    new = read_jsonl(out / "results.jsonl")
    assert len(new) == len(rows)
    assert {row["data_hash"] for row in new}.isdisjoint(row["data_hash"] for row in rows)
