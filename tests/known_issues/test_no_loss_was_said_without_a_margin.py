"""A study said "loses nothing: holds" of seeds that left a loss of 25 points open."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table
from speechft.reporting.study.verdicts import judge


def study(**finding: Any) -> StudySettings:
    return StudySettings.model_validate(
        {
            "name": "s",
            "title": "A study",
            "encoders": {"theta0": "tiny-hubert"},
            "evaluate": {"data": "synthetic:tiny", "tasks": ["sid"]},
            "rows": [{"name": n, "title": n, "encoder": "theta0"} for n in ("theta0", "ours")],
            "findings": [{"says": "No loss.", "pairs": [["ours", "theta0"]], **finding}],
        }
    )


def test_no_difference_told_apart_is_not_no_loss() -> None:
    one = study(at_least=True, margin=10.0)
    records = [
        {"row": row, "seed": seed, "task": "sid", "metric": "acc", "value": value}
        for row, values in {"theta0": (50, 50, 50), "ours": (49.0, 50.4, 51.8)}.items()
        for seed, value in enumerate(values)
    ]
    (found,) = judge(one, make_table(one, records))  # score +4 ± 14: anything from -31 to +39
    assert found.text == "not told apart"


def test_as_good_is_refused_without_a_margin() -> None:
    with pytest.raises(ValidationError, match="margin"):
        study(at_least=True)
