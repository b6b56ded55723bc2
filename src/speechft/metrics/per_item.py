"""What every item of a test set adds to a metric, for intervals over the items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from speechft.metrics import diarization
from speechft.metrics.measures import edits
from speechft.metrics.slots import parse_slots, type_f1, value_errors

Side = Sequence[Any]
Parts = Sequence[tuple[float, float]]


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
    parts = _PARTS[metric]([row["reference"] for row in rows], [row[guess] for row in rows])
    return np.array(parts, dtype=np.float64).reshape(-1, 2)


def _edits(references: Side, guesses: Side) -> Parts:
    counts = edits(references, guesses)
    return [(count, len(reference)) for count, reference in zip(counts, references, strict=True)]


def _words(references: Side, guesses: Side) -> Parts:
    return _edits([r.split() for r in references], [g.split() for g in guesses])


def _equal(references: Side, guesses: Side) -> Parts:
    return [(r == g, 1) for r, g in zip(references, guesses, strict=True)]


def _frames(references: Side, guesses: Side) -> Parts:
    pairs = list(zip(references, guesses, strict=True))
    return [(sum(map(_same, r, g)), min(len(r), len(g))) for r, g in pairs]


def _same(one: Any, other: Any) -> bool:
    return bool(one == other)


def _slot_types(references: Side, guesses: Side) -> Parts:
    pairs = zip(references, guesses, strict=True)
    return [(type_f1(parse_slots(r), parse_slots(g)), 1) for r, g in pairs]


def _slot_values(references: Side, guesses: Side) -> Parts:
    pairs = zip(references, guesses, strict=True)
    return [value_errors(parse_slots(r), parse_slots(g)) for r, g in pairs]


def _turns(references: Side, guesses: Side) -> Parts:
    return [diarization.errors(r, g) for r, g in zip(references, guesses, strict=True)]


_PARTS: Final[dict[str, Callable[[Side, Side], Parts]]] = {
    "per": _edits,
    "cer": _edits,
    "wer": _words,
    "wer_lm": _words,
    "acc": _equal,
    "frame_acc": _frames,
    "slot_type_f1": _slot_types,
    "slot_value_cer": _slot_values,
    "der": _turns,
}
