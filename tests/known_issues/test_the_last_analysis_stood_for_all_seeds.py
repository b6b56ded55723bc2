"""A report's CKA by hidden state was that of the last seed, and of the last run of several."""

from __future__ import annotations

from pathlib import Path

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.drift import read_drift


def write_analysis(folder: Path, *values: float, seed: int = 0, data: str = "a.csv") -> None:
    records = [
        {"encoder": "merged-sid", "measure": "cka", "layer": layer, "value": value}
        for layer, value in enumerate(values)
    ]
    write_jsonl(folder / "analysis.jsonl", records)
    depends = {"base": "id", "encoders": [f"of {seed}"], "data": data}
    depends |= {"seed": seed} if seed else {}
    write_json(folder / "speechft.json", {"stage": "analyze", "depends": depends})


def test_seeds_are_a_mean(tmp_path: Path) -> None:
    for seed, values in enumerate([(100.0, 90.0), (98.0, 70.0)]):
        write_analysis(tmp_path / f"seed-{seed}" / "analyze", *values, seed=seed)
    assert read_drift([tmp_path]) == {"merged-sid": [99.0, 80.0]}


def test_analyses_that_differ_otherwise_are_told_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_analysis(one / "analyze", 100.0, 90.0)
    write_analysis(one / "other", 100.0, 50.0, data="b.csv")
    write_analysis(two / "analyze", 100.0, 70.0)
    found = read_drift([one, two, one])
    assert [values[1] for values in found.values()] == [90.0, 50.0, 70.0]
    assert [Path(name[len("merged-sid (") : -1]).parent.name for name in found] == [
        *("one", "one"),
        "two",
    ]
