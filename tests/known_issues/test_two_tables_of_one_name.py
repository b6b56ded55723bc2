"""Two tables of one name shared a hash, so that a change in the first went unnoticed."""

from __future__ import annotations

import shutil

import pytest
from evaluate_fixture import evaluation, relabel

from speechft.core.files import read_json, read_jsonl
from speechft.probing.evaluate import evaluate


@pytest.mark.parametrize("changed", ["data", "other"])
def test_a_change_in_either_is_noticed(evaluation_home, tmp_path, changed):
    for name in ("data", "other"):
        shutil.copytree(evaluation_home / name, tmp_path / name)
    data = {t: str(tmp_path / n / "table.jsonl") for t, n in (("sid", "data"), ("er", "other"))}
    given = evaluation(evaluation_home, tmp_path / "out", tasks="sid,er", data=data)
    out = evaluate(given)
    before = {row["task"]: row for row in read_jsonl(out / "results.jsonl")}
    assert len(read_json(out / "speechft.json")["data"]) == 6
    relabel(tmp_path / changed / "table.jsonl", "test")
    evaluate(given)
    after = {row["task"]: row for row in read_jsonl(out / "results.jsonl")}
    task = {"data": "sid", "other": "er"}[changed]
    assert [t for t in data if before[t] != after[t]] == [task]
