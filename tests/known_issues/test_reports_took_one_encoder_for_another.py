"""A report showed an early encoder as θ', a merge by TIES as one by interpolation, or no run."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.files import read_jsonl, write_json, write_jsonl
from speechft.reporting.findings import findings
from speechft.reporting.leaderboard.ranking import make_leaderboard
from speechft.reporting.stage import comparison_of
from speechft.reporting.tradeoff import planes

TUNED = {"tuned_on": "sid", "method": "stable"}
MERGED = {**TUNED, "role": "merged"}
ROLES: dict[str, dict[str, object]] = {
    "theta0": {"role": "pretrained", "alpha": 0},
    "ties": {**MERGED, "alpha": 0.25, "merge_method": "ties", "name": "ties"},
    "tuned": {**TUNED, "role": "finetuned", "alpha": 1},
    "tuned-at-20": {**TUNED, "role": "finetuned", "alpha": 1, "name": "sid-at-20"},
    "merged": {**MERGED, "alpha": 0.25, "merge_method": "linear"},
    "half": {**MERGED, "alpha": 0.5, "merge_method": "linear", "main": False},
}
VALUES = {"theta0": 10, "ties": 5, "tuned": 90, "tuned-at-20": 40, "merged": 30, "half": 70}
VALUES["quarter"] = 30
SID = {"task": "sid", "seed": 0}


def write_run(folder: Path, names: list[str], roles: dict[str, dict[str, object]] = ROLES) -> Path:
    score = {"metric": "acc", "direction": "higher", "items": 10, **SID}
    records = [{"encoder": name, "value": VALUES[name], **score} for name in names]
    grid = [{"encoder": name, "acc": VALUES[name], "chosen": True, **SID} for name in names]
    write_jsonl(folder / "results.jsonl", records)
    write_jsonl(folder / "grid.jsonl", grid)
    write_json(folder / "encoders.json", [{"encoder": n, **about} for n, about in roles.items()])
    return folder


@pytest.mark.parametrize("order", [1, -1])
def test_a_sweep_has_one_way_of_merging_and_the_last_encoder(tmp_path: Path, order: int) -> None:
    comparison = comparison_of((write_run(tmp_path, [*ROLES][::order]),))
    (points,) = comparison.sweep.values()
    shown = {alpha: row.cells["sid", "acc"].mean for alpha, row in points.items()}
    assert shown == {0.0: 10, 0.25: 30, 0.5: 70, 1.0: 90}
    (choice,) = comparison.choices.values()
    assert choice.best == 1
    said = " ".join(detail for one in findings(comparison) for detail in one.details)
    assert "α = 1 scores best of 0, 0.25, 0.5, 1 (900); the α that was used, 0.25, has 300" in said


def test_an_alpha_of_another_method_is_not_called_the_one_that_was_used(tmp_path: Path) -> None:
    merged = {**MERGED, "merge_method": "linear", "main": False}
    roles = {n: one for n, one in ROLES.items() if n in ("theta0", "ties", "tuned")}
    roles |= {"quarter": {**merged, "alpha": 0.25}, "half": {**merged, "alpha": 0.5}}
    comparison = comparison_of((write_run(tmp_path, [*roles], roles),))
    said = " ".join(detail for one in findings(comparison) for detail in one.details)
    assert "α = 1 scores best of 0, 0.25, 0.5, 1" in said
    assert "that was used" not in said


def test_runs_in_folders_of_one_name_are_all_shown(tmp_path: Path) -> None:
    runs = []
    for value, place in enumerate(("a/scores", "b/scores", "c/scores")):
        runs.append(tmp_path / place)
        record = {"encoder": "mine", "metric": "acc", "direction": "higher", "value": value, **SID}
        write_jsonl(runs[-1] / "results.jsonl", [record])
    rows = comparison_of((*runs, runs[1])).rows
    assert [(r.encoder.run, r.cells["sid", "acc"].mean) for r in rows] == [
        ("scores", 0),
        ("scores (b/scores)", 1),
        ("scores (c/scores)", 2),
    ]


def write_scores(folder: Path, *values: float, seed: int = 0) -> Path:
    found = {"metric": "acc", "direction": "higher", "suite": "s", **SID, "seed": seed}
    records = [{"encoder": f"mine-{n}", "value": v, **found} for n, v in enumerate(values)]
    write_jsonl(folder / "results.jsonl", records)
    return folder


def test_evaluations_of_one_folder_that_differ_are_all_shown(tmp_path: Path) -> None:
    """Of two heads, say: what the second had found of an encoder was left out."""
    for name, values in {"a": (1, 2), "b": (3, 4), "c": (5,)}.items():
        write_scores(tmp_path / "runs" / name, *values)
    write_scores(tmp_path / "runs" / "a" / "seed-1", 1.5, 2.5, seed=1)
    rows = comparison_of((tmp_path / "runs",)).rows
    shown = {(r.encoder.run, r.encoder.name): r.cells["sid", "acc"].values for r in rows}
    assert shown == {
        ("runs", "mine-0"): (1, 1.5),
        ("runs", "mine-1"): (2, 2.5),
        ("runs (b)", "mine-0"): (3,),
        ("runs (b)", "mine-1"): (4,),
        ("runs (c)", "mine-0"): (5,),
    }
    board = make_leaderboard([tmp_path / "runs"])
    assert [(row.name, row.values["sid", "acc"]) for row in board.ranked] == [
        ("mine-0 (c)", [5]),
        ("mine-1 (b)", [4]),
        ("mine-0 (b)", [3]),
        ("mine-1 (runs)", [2, 2.5]),
        ("mine-0 (runs)", [1, 1.5]),
    ]


def test_a_leaderboard_tells_folders_of_one_name_apart(tmp_path: Path) -> None:
    runs = [write_scores(tmp_path / name / "scores", n) for n, name in enumerate("abc")]
    names = [row.name for row in make_leaderboard(runs).ranked]
    assert names == [f"mine-0 ({name}/scores)" for name in "cba"]


def test_the_line_of_a_trade_off_is_the_same_way(tmp_path: Path) -> None:
    names = [*ROLES]
    write_run(tmp_path, names)
    records = read_jsonl(tmp_path / "results.jsonl")
    write_jsonl(tmp_path / "results.jsonl", [*records, *({**r, "task": "er"} for r in records)])
    (plane,) = planes(comparison_of((tmp_path,)))
    (points,) = plane.lines.values()
    assert [p.own.mean for p in points if p.on_way] == [10, 30, 70, 90]
    assert len(points) == len(names)
