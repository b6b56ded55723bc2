"""A report's headline said "better on average" where one utterance of 21 made the difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.files import write_json, write_jsonl
from speechft.reporting.findings import findings
from speechft.reporting.stage import comparison_of

ROLES = [
    {"encoder": "theta0", "role": "pretrained", "alpha": 0},
    {"encoder": "tuned", "role": "finetuned", "alpha": 1, "tuned_on": "er", "method": "stable"},
    {"encoder": "merged", "role": "merged", "alpha": 0.25, "tuned_on": "er", "method": "stable"},
]


@pytest.mark.parametrize(("seeds", "kept"), [((0,), True), ((0, 1, 2), True), ((0,), False)])
def test_one_utterance_of_21_is_too_few(tmp_path: Path, seeds: tuple[int, ...], kept: bool) -> None:
    records = []
    for name, right in (("theta0", 15), ("tuned", 14), ("merged", 16)):
        for seed in seeds:
            cell = f"sid-{seed}-{name}"
            about = {"encoder": name, "task": "sid", "metric": "acc", "direction": "higher"}
            value = round(100 * right / 21, 6)
            records.append({**about, "value": value, "seed": seed, "items": 21, "cell": cell})
            rows = [
                {"id": f"u{n}", "reference": "a", "prediction": "a" if n < right else "b"}
                for n in range(21)
            ]
            if kept:
                (tmp_path / "cells" / cell).mkdir(parents=True)
                write_jsonl(tmp_path / "cells" / cell / "predictions.jsonl", rows)
    write_jsonl(tmp_path / "results.jsonl", records)
    write_json(tmp_path / "encoders.json", ROLES)
    (found,) = findings(comparison_of((tmp_path,)))
    assert found.verdict == "none"
    assert "is not told apart from the pretrained encoder" in found.headline
    assert ("too few items to tell" in found.headline) == kept
