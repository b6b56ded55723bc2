"""An evaluation that failed replaced `results.jsonl` and left the old record.

Seen: [a, c] done, then [a, broken] failed, then [a, c] said "already done" without c's scores.
"""

from __future__ import annotations

import pytest
from evaluate_fixture import evaluation

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import read_jsonl
from speechft.probing.evaluate import evaluate


@pytest.mark.parametrize("beside", [("a",), ("a", "c")])
def test_scores_are_there_after_a_failure(evaluation_home, tmp_path, beside):
    places = {"a": evaluation_home / "one", "c": evaluation_home / "two", "broken": tmp_path / "x"}
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "config.json").write_text("{}")
    (tmp_path / "x" / "model.safetensors").write_bytes(b"no weights")

    def settings(*names):
        named = tuple((name, places[name]) for name in names)
        return evaluation(evaluation_home, tmp_path / "out", encoders=named)

    results = evaluate(settings("a", "c")) / "results.jsonl"
    before = results.read_bytes()
    with pytest.raises((CheckpointError, SettingsError)):
        evaluate(settings(*beside, "broken"))
    assert results.read_bytes() == before
    evaluate(settings("a", "c"))
    assert results.read_bytes() == before
    assert {row["encoder"] for row in read_jsonl(results)} == {"a", "c"}
    assert (tmp_path / "out" / "speechft.json").is_file()


def test_the_record_goes_before_work_begins(evaluation_home, tmp_path, monkeypatch):
    given = evaluation(evaluation_home, tmp_path / "out")
    record = evaluate(given) / "speechft.json"
    more = evaluation(evaluation_home, tmp_path / "out", seeds=(0, 1))
    monkeypatch.setattr("speechft.probing.job.open_encoder", lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        evaluate(more)
    assert not record.exists()
    monkeypatch.undo()
    evaluate(given)
    assert record.is_file()
