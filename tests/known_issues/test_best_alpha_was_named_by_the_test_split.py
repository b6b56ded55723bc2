"""Of a sweep evaluated without a recipe, a report named the encoder that was best on test."""

from __future__ import annotations

from pathlib import Path

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.findings import findings
from speechft.reporting.stage import comparison_of


def test_no_alpha_of_a_sweep_is_named_by_the_test_split(tmp_path: Path) -> None:
    alphas = {"a": 0.1, "b": 0.25, "c": 0.5}
    about = {"role": "merged", "tuned_on": "sid", "method": "stable", "merge_method": "linear"}
    roles = [{"encoder": name, **about, "alpha": alpha} for name, alpha in alphas.items()]
    records = [
        {"encoder": name, "task": task, "metric": "acc", "direction": "higher", "seed": seed}
        | {"value": 50.0 + 90 * alphas[name] * (1 - alphas[name]) + seed / 10}
        for name in alphas
        for task in ("er", "sid")
        for seed in range(3)
    ]
    write_jsonl(tmp_path / "results.jsonl", records)
    write_json(tmp_path / "encoders.json", roles)
    (found,) = findings(comparison_of((tmp_path,)))
    assert found.headline == "3 encoders measured on 2 tasks."
    grid = [
        {**{k: r[k] for k in ("encoder", "task", "seed")}, "chosen": True}
        | {"acc": 60.0 if r["encoder"] == "b" else 50.0}
        for r in records
    ]
    write_jsonl(tmp_path / "grid.jsonl", grid)
    (found,) = findings(comparison_of((tmp_path,)))
    assert "On the dev splits of ER and SID, α = 0.25 scores best of 0.1, 0.25, 0.5" in " ".join(
        found.details
    )
