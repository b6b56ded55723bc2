"""A study said "holds" where the mean of three seeds exceeded their standard deviation: p 0.23."""

from __future__ import annotations

from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table
from speechft.reporting.study.verdicts import judge


def test_three_seeds_whose_mean_just_exceeds_their_spread_show_nothing() -> None:
    study = StudySettings.model_validate(
        {
            "name": "s",
            "title": "A study",
            "encoders": {"theta0": "tiny-hubert"},
            "evaluate": {"data": "synthetic:tiny", "tasks": ["sid"]},
            "rows": [{"name": n, "title": n, "encoder": "theta0"} for n in ("theta0", "ours")],
            "findings": [{"says": "It helps.", "pairs": [["ours", "theta0"]], "metric": "sid acc"}],
        }
    )
    records = [
        {"row": row, "seed": seed, "task": "sid", "metric": "acc", "value": value}
        for row, values in {"theta0": (50, 50, 50), "ours": (50.0, 51.05, 52.1)}.items()
        for seed, value in enumerate(values)
    ]
    (found,) = judge(study, make_table(study, records))  # mean 1.05, standard deviation 1.05
    assert found.text == "not told apart"
    assert found.p > 0.2
