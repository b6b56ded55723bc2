"""A suite from the corpora's own trees to the leaderboard."""

from __future__ import annotations

from dataclasses import replace

import pytest
from evaluate_fixture import CONFIG

from speechft.core.files import read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.leaderboard.stage import leaderboard
from speechft.reporting.settings import LeaderboardSettings
from speechft.tasks import TASKS


@pytest.fixture
def quick(monkeypatch):
    """SUPERB's plans with very few updates."""
    for kind in TASKS.values():
        plan = kind.plans["superb"]
        short = replace(plan, steps=1, rates=plan.rates[:1])
        monkeypatch.setattr(kind, "plans", {**kind.plans, "superb": short})


def test_paper4_on_four_corpora_and_its_place_beside_published_rows(corpus_tree, tmp_path, quick):
    build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder")
    corpora = {"pr": "librispeech", "sid": "voxceleb1", "er": "iemocap", "sf": "snips"}
    data = [f"{task}={name}:{corpus_tree(name)}" for task, name in corpora.items()]
    values = {
        "encoders": (("mine", str(tmp_path / "encoder")),),
        "suite": "paper4",
        "data": data,
        "out": tmp_path / "out",
    }
    out = evaluate(parse_settings(EvaluateSettings, values, where="test"))
    records = read_jsonl(out / "results.jsonl")
    assert {r["task"]: r["data"] for r in records} == corpora
    assert {(r["suite"], r["head"], r["protocol"]) for r in records} == {
        ("paper4", "superb", "clean")
    }
    assert not any(r["official_test"] for r in records)
    board = leaderboard(LeaderboardSettings(runs=(out,)))
    (mine,) = board.apart
    assert mine.why_apart is not None
    assert mine.why_apart.startswith("not the official test set of er, pr, sf, sid")
    assert mine.score is not None
    assert all(row.source for row in board.ranked)
