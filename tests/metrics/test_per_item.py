"""The parts of every item add up to the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from speechft.metrics.detection import bootstrap_eer, equal_error_rate
from speechft.metrics.diarization import diarization_error_rate
from speechft.metrics.measures import accuracy, error_rate
from speechft.metrics.per_item import drawn_anew, item_parts, metric_of
from speechft.metrics.slots import parse_slots, slot_type_f1, slot_value_cer
from speechft.tasks.sf import SlotFilling

WORDS = (["A B C", "D E", ""], ["A X C", "D E F", "G"])
SLOTS = (["GO TO B-city ROME E-city", "PLAY"], ["GO B-city ROM E-city B-day MONDAY E-day", "PLAY"])
TURNS = ([[("a", 0.0, 2.0)], [("a", 0.0, 1.0)]], [[("x", 0.5, 2.0)], []])


def slots(side: list[str]) -> list[Any]:
    return [parse_slots(text) for text in side]


@pytest.mark.parametrize(
    ("metric", "sides", "value"),
    [
        ("per", (["ab", "c"], ["ax", "c"]), error_rate(["ab", "c"], ["ax", "c"])),
        ("cer", WORDS, error_rate(*WORDS)),
        ("wer", WORDS, error_rate(*([t.split() for t in side] for side in WORDS))),
        ("acc", (["a", "b", ["c", "d"]], ["a", "x", ["c", "d"]]), accuracy([1, 2, 3], [1, 0, 3])),
        ("frame_acc", ([[1, 2, 3], [4]], [[1, 2], [5]]), 100 * 2 / 3),
        ("slot_type_f1", SLOTS, slot_type_f1(*map(slots, SLOTS))),
        ("slot_value_cer", SLOTS, slot_value_cer(*map(slots, SLOTS))),
        ("der", TURNS, diarization_error_rate(*TURNS)),
    ],
)
def test_the_parts_add_up_to_the_metric(metric: str, sides: Any, value: float) -> None:
    rows = [{"reference": r, "prediction": p} for r, p in zip(*sides, strict=True)]
    parts = item_parts(metric, rows)
    assert parts is not None
    assert parts.shape == (len(rows), 2)
    assert 100 * parts[:, 0].sum() / parts[:, 1].sum() == pytest.approx(value)


@pytest.mark.parametrize("metric", ["slot_type_f1", "slot_value_cer"])
def test_slots_of_items_are_read_as_those_of_the_figure(metric: str) -> None:
    """S3PRL reads marks without borders; the items were read strictly, and had no intervals."""
    sides = ["B-a ONE E-a B-c TWO E-c"], ["B-a ONE E-ab B-c B-d TWO E-c"]
    found = {}
    for protocol in ("clean", "s3prl"):
        task = SlotFilling([], "clean" if protocol == "clean" else "s3prl")
        rows = [{"reference": r, "prediction": p} for r, p in zip(*sides, strict=True)]
        parts = item_parts(metric, rows, as_s3prl=protocol == "s3prl")
        assert parts is not None
        found[protocol] = task.score(sides[1], sides[0])[metric]
        assert metric_of(metric, parts, [0]) == pytest.approx(found[protocol])
    assert found["clean"] != found["s3prl"]


def test_trials_and_queries_are_items_too() -> None:
    labels, scores = [1, 1, 0, 0, 1, 0], [0.9, 0.2, 0.3, 0.1, 0.8, 0.0]
    rows = [{"label": a, "score": b} for a, b in zip(labels, scores, strict=True)]
    parts = item_parts("eer", rows)
    assert parts is not None
    assert metric_of("eer", parts, [0] * 6) == equal_error_rate(labels, scores)
    drawn = drawn_anew("eer", parts, seed=3)
    assert np.array_equal(drawn, bootstrap_eer(parts, seed=3), equal_nan=True)
    queries = item_parts("mtwv", [{"parts": {"mtwv": (0.25, 0.5)}}, {"parts": {"mtwv": (0, 0.5)}}])
    assert queries is not None
    assert metric_of("mtwv", queries, [0, 0]) == 25.0
    assert set(drawn_anew("mtwv", queries)) == {0.0, 25.0, 50.0}


def test_a_metric_that_is_no_ratio_over_items_has_no_parts() -> None:
    assert item_parts("ccc", [{"reference": 1, "prediction": 1}]) is None
