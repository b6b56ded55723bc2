"""Scores of heads of two sizes, or of 20 and of 500 updates, stood side by side without a word."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from speechft.core.errors import DataError
from speechft.core.files import write_json, write_jsonl
from speechft.reporting.findings import findings
from speechft.reporting.leaderboard.ranking import make_leaderboard
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import comparison_of, report


def write_scores(folder: Path, value: float, *, head: str = "mini", steps: int = 20) -> Path:
    records = []
    for seed in range(5):
        cell = f"sid-{seed}-{head}-{steps}"
        record = {"encoder": folder.name, "task": "sid", "metric": "acc", "direction": "higher"}
        record |= {
            "value": value + seed * value % 7 / 9,
            "seed": seed,
            "suite": "own",
            "data": "my.csv",
        }
        records.append(record | {"head": head, "cell": cell, "data_hash": "same"})
        plan = {"plan": {"steps": steps, "rates": [0.1]}}
        write_json(folder / "cells" / cell / "speechft.json", {"stage": "probe", "depends": plan})
    write_jsonl(folder / "results.jsonl", records)
    return folder


@pytest.mark.parametrize(
    ("other", "said"),
    [({"head": "superb"}, "head size mini and superb"), ({"steps": 500}, "updates 20 and 500")],
)
def test_other_probes_are_pointed_out_and_decide_nothing(tmp_path, caplog, other, said):
    one, two = write_scores(tmp_path / "one", 10), write_scores(tmp_path / "two", 90, **other)
    page = report(ReportSettings(runs=(one, two), out=tmp_path / "out"))
    assert f"SID: {said}." in page.read_text(encoding="utf-8")
    assert said in caplog.text
    (found,) = findings(comparison_of((one, two)))
    assert "None is told apart from all others (not measured on the same data" in found.headline
    with pytest.raises(DataError, match="by different probes"):
        make_leaderboard([one, two])


def test_the_same_probes_decide(tmp_path, caplog):
    one, two = write_scores(tmp_path / "one", 10), write_scores(tmp_path / "two", 90)
    page = report(ReportSettings(runs=(one, two), out=tmp_path / "out"))
    assert "Different probes" not in page.read_text(encoding="utf-8")
    warned = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert not [r for r in warned if r.name.startswith("speechft.reporting")]
    (found,) = findings(comparison_of((one, two)))
    assert "two · two scores above all others" in found.headline
    assert make_leaderboard([one, two]).ranked[0].name == "two"
