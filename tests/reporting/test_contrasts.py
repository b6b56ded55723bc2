"""Intervals over the items of test sets, from kept predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechft.core.files import write_jsonl
from speechft.metrics.detection import equal_error_rate
from speechft.metrics.superb import suite_score
from speechft.reporting.contrasts import Contrast, Side, contrast
from speechft.reporting.measurements import Encoder, Measurement


def measured(folder: Path, name: str, right: list[bool], **more: Any) -> Measurement:
    """Write predictions of a classification and give its accuracy."""
    path = folder / name / "predictions.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"utterance {n}", "reference": "a", "prediction": "a" if good else "b"}
        for n, good in enumerate(right)
    ]
    write_jsonl(path, rows)
    value = round(100 * sum(right) / len(right), 6)
    given = {"encoder": Encoder("other", name=name), "seed": 0, "value": value, **more}
    return Measurement(task="sid", metric="acc", direction="higher", predictions=path, **given)


def compare(ours: list[Measurement], theirs: list[Measurement]) -> Contrast:
    return contrast(Side(ours), Side(theirs), suite_score, 0.95)


@pytest.mark.parametrize(
    ("ours", "theirs", "items", "standing"),
    [
        (60, 60, 100, "open"),
        (61, 60, 100, "open"),
        (90, 60, 100, "above"),
        (60, 90, 100, "below"),
        (5, 0, 5, "open"),  # every one of them, and still too few
    ],
)
def test_an_encoder_is_above_only_by_enough_items(
    tmp_path: Path, ours: int, theirs: int, items: int, standing: str
) -> None:
    sides = [
        [measured(tmp_path, name, [n < count for n in range(items)])]
        for name, count in (("ours", ours), ("theirs", theirs))
    ]
    found = compare(*sides)
    assert found.seeds is None
    assert found.items is not None
    assert found.changed == abs(ours - theirs)
    assert found.standing == standing
    assert found.too_few_items == (standing == "open")


def test_seeds_and_items_must_both_bear_it(tmp_path: Path) -> None:
    def sides(of_seeds: list[int], theirs: int) -> list[list[Measurement]]:
        counts = {"ours": of_seeds, "theirs": [theirs] * len(of_seeds)}
        return [
            [
                measured(tmp_path, f"{name}-{seed}", [n < count for n in range(200)], seed=seed)
                for seed, count in enumerate(own)
            ]
            for name, own in counts.items()
        ]

    assert compare(*sides([150, 151, 152], 100)).standing == "above"
    steady = compare(*sides([101, 102, 102], 100))  # three seeds agree on two utterances
    assert steady.seeds is not None
    assert steady.seeds.low > 0
    assert steady.standing == "open"
    assert steady.too_few_items
    noisy = compare(*sides([110, 150, 190], 100))
    assert noisy.items is not None
    assert noisy.items.low > 0
    assert (noisy.standing, noisy.too_few_items) == ("open", False)


def test_predictions_that_are_not_of_the_value_or_of_other_items_count_as_none(
    tmp_path: Path,
) -> None:
    one = measured(tmp_path, "one", [True] * 30)
    assert compare([one], [measured(tmp_path, "other", [False] * 30)]).items is not None
    assert compare([one], [measured(tmp_path, "wrong", [False] * 30, value=7.0)]).items is None
    assert compare([one], [measured(tmp_path, "more", [False] * 31)]).items is None
    (tmp_path / "one" / "predictions.jsonl").write_text("[1, 2", encoding="utf-8")
    assert compare([one], [measured(tmp_path, "other", [False] * 30)]).standing == "open"


def test_the_interval_is_wide_as_binomial_chance_is(tmp_path: Path) -> None:
    """40 of 100 items better: 40 ± 1.96 · √(0.4 · 0.6 / 100) · 100 percent, tenfold as a score."""
    ours = measured(tmp_path, "ours", [True] * 100)
    found = compare([ours], [measured(tmp_path, "theirs", [n < 60 for n in range(100)])]).items
    assert found is not None
    assert found.low == pytest.approx(400 - 96, abs=15)
    assert found.high == pytest.approx(400 + 96, abs=15)


def test_trials_bear_an_eer_and_seeds_are_not_mixed(tmp_path: Path) -> None:
    """Of one suite with SID and ASV: without intervals of EER the whole suite had none."""

    def verified(name: str, shift: float) -> list[Measurement]:
        random, found = np.random.default_rng(1), []
        for seed in (0, 1):
            rows = [
                {"id": f"a{n}", "other": f"b{n}", "label": n % 2, "score": round(score, 6)}
                for n, score in enumerate(random.normal(size=400) + shift * (np.arange(400) % 2))
            ]
            place = tmp_path / f"{name}-{seed}" / "predictions.jsonl"
            place.parent.mkdir()
            write_jsonl(place, rows)
            value = round(
                equal_error_rate([r["label"] for r in rows], [r["score"] for r in rows]), 6
            )
            about = {"encoder": Encoder("other", name=name), "seed": seed, "task": "asv"}
            found.append(
                Measurement(
                    **about, metric="eer", value=value, direction="lower", predictions=place
                )
            )
            found.append(Measurement(**about, metric="min_dcf", value=90.0, direction="lower"))
        return found

    good, bad = verified("good", 3.0), verified("bad", 0.5)
    found = compare(good, bad)
    assert found.items is not None
    assert found.items.low > 0
    measured = 10 * (bad[0].value + bad[2].value - good[0].value - good[2].value) / 2
    assert found.items.low < measured < found.items.high
    assert compare(good, verified("same", 3.0)).standing == "open"
