"""Evaluating a sweep hashed the files of its ends again for every point, and bypassed merging."""

from __future__ import annotations

from evaluate_fixture import evaluation

from speechft.core.files import read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import load_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing import settings as module
from speechft.probing.evaluate import evaluate


def merged(home, out, alpha):
    values = {"base": home / "one", "tuned": [home / "two"], "alpha": alpha, "out": out}
    return merge(parse_settings(MergeSettings, values, where="test"))


def test_an_end_is_identified_once_and_points_are_what_merge_writes(
    evaluation_home, tmp_path, monkeypatch
):
    sweep = merged(evaluation_home, tmp_path / "sweep", ["0:1:0.25"])
    asked, identify = [], module.encoder_id
    monkeypatch.setattr(module, "encoder_id", lambda name: asked.append(name) or identify(name))
    ends = {"base": str(evaluation_home / "one"), "tuned": str(evaluation_home / "two")}
    close = {"name": "close", **ends, "alpha": 0.2500004}
    given = evaluation(evaluation_home, tmp_path / "out", encoders=(str(sweep), close))
    rows = read_jsonl(evaluate(given) / "results.jsonl")
    assert len(rows) == 6
    assert len(asked) == len(set(asked)) == 2  # the ends of the sweep
    hashes = {row["encoder"]: row["encoder_hash"] for row in rows}
    one = merged(evaluation_home, tmp_path / "merged", ["0.25"])
    assert hashes[f"{sweep}@0.25"] == load_encoder(one).fingerprint()
    assert len(set(hashes.values())) == 6  # with all digits of alpha
