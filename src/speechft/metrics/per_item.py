"""What every item of a test set adds to a metric, for intervals over the items."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from speechft.metrics import diarization
from speechft.metrics.measures import edits
from speechft.metrics.slots import Slots, parse_slots, type_f1, value_errors

Parts = tuple[float, float]


def item_parts(metric: str, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float64] | None:
    """Give each item's share of a metric's numerator and denominator.

    The metric is 100 times the sum of the first over the sum of the second.

    Args:
        metric: its name.
        rows: kept predictions, each with "reference" and "prediction".

    Returns:
        (N, 2); none for a metric that is no such ratio (EER, MTWV).
    """
    if metric not in _PARTS:
        return None
    guess = "with_lm" if metric == "wer_lm" else "prediction"
    parts = [_PARTS[metric](row["reference"], row[guess]) for row in rows]
    return np.array(parts, dtype=np.float64).reshape(-1, 2)


def _edits(reference: Sequence[str], guess: Sequence[str]) -> Parts:
    return edits([reference], [guess])[0], len(reference)


def _words(reference: str, guess: str) -> Parts:
    return _edits(reference.split(), guess.split())


def _slots(measure: Callable[[Slots, Slots], Any]) -> Callable[[str, str], Any]:
    return lambda reference, guess: measure(parse_slots(reference), parse_slots(guess))


_PARTS: Final[dict[str, Callable[[Any, Any], Parts]]] = {
    "per": _edits,
    "cer": _edits,
    "wer": _words,
    "wer_lm": _words,
    "ter": _edits,
    "acc": lambda reference, guess: (reference == guess, 1),
    "frame_acc": lambda r, g: (sum(map(operator.eq, r, g)), min(len(r), len(g))),
    "slot_type_f1": _slots(lambda reference, guess: (type_f1(reference, guess), 1)),
    "slot_value_cer": _slots(value_errors),
    "der": diarization.errors,
}
