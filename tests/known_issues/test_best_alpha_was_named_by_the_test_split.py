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


def test_no_alpha_is_theta_hat_by_its_place_in_the_table(tmp_path: Path) -> None:
    """Beside θ₀ and θ′ the smallest alpha had the headline, as if it had been chosen."""
    alphas = {"base": 0.0, "a": 0.1, "b": 0.25, "c": 0.5, "tuned": 1.0}
    ends = {"base": "pretrained", "tuned": "finetuned"}
    merged = {"tuned_on": "sid", "method": "stable", "merge_method": "linear"}
    roles = [
        {"encoder": name, "alpha": alpha, "role": ends.get(name, "merged")}
        | (merged if name != "base" else {})
        for name, alpha in alphas.items()
    ]
    roles[-1]["merge_method"] = ""
    records = [
        {"encoder": name, "task": task, "metric": "acc", "direction": "higher", "seed": 0}
        | {"value": 50.0 + 10 * alpha}
        for name, alpha in alphas.items()
        for task in ("er", "sid")
    ]
    write_jsonl(tmp_path / "results.jsonl", records)
    write_json(tmp_path / "encoders.json", roles)
    table = comparison_of((tmp_path,))
    assert not table.trios
    assert findings(table)[0].headline == "5 encoders measured on 2 tasks."
    for chosen, found in (("b", [0.25]), ("tuned", [])):
        grid = [
            {**{k: r[k] for k in ("encoder", "task", "seed")}, "chosen": True}
            | {"acc": 60.0 if r["encoder"] == chosen else 50.0}
            for r in records
        ]
        write_jsonl(tmp_path / "grid.jsonl", grid)
        table = comparison_of((tmp_path,))
        assert [trio.merged.encoder.alpha for trio in table.trios] == found
        assert ("α = 0.25" in findings(table)[0].headline) == bool(found)
        text = " ".join(findings(table)[0].details)
        assert f"α = {alphas[chosen]:g} scores best of 0, 0.1, 0.25, 0.5, 1" in text
