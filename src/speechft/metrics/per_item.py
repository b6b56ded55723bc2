"""What every item of a test set adds to a metric, for intervals over the items."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from speechft.metrics import diarization
from speechft.metrics.detection import bootstrap_eer, equal_error_rate
from speechft.metrics.measures import edits
from speechft.metrics.slots import Slots, slots_of, type_f1, value_errors
from speechft.metrics.statistics import bootstrap_ratio

Parts = tuple[float, float]


def item_parts(
    metric: str, rows: Sequence[Mapping[str, Any]], *, as_s3prl: bool = False
) -> NDArray[np.float64] | None:
    """Give each item's share of a metric's numerator and denominator.

    The metric is 100 times the sum of the first over the sum of the second. EER is no such ratio:
    its items are trials, each with its label and its score.

    Args:
        metric: its name.
        rows: kept predictions, each with "reference" and "prediction"; trials with "label" and
            "score"; of MTWV each query's "parts".
        as_s3prl: they are of the protocol "s3prl", which reads slots otherwise.

    Returns:
        (N, 2); none for a metric that cannot be taken apart.
    """
    if metric == "eer":
        return np.array([(row["label"], row["score"]) for row in rows], dtype=np.float64)
    if metric.startswith("mtwv"):
        return np.array([row["parts"][metric] for row in rows], dtype=np.float64)
    if metric in _OF_SLOTS:
        pairs = [slots_of(row["reference"], row["prediction"], as_s3prl=as_s3prl) for row in rows]
        parts = [_OF_SLOTS[metric](*pair) for pair in pairs]
    elif metric in _PARTS:
        guess = "with_lm" if metric.endswith("_lm") else "prediction"
        parts = [_PARTS[metric](row["reference"], row[guess]) for row in rows]
    else:
        return None
    return np.array(parts, dtype=np.float64).reshape(-1, 2)


def drawn_anew(
    metric: str, parts: NDArray[np.float64], folds: Sequence[int] | None = None, *, seed: int = 0
) -> NDArray[np.float64]:
    """Give a metric, in percent, of items that are drawn anew with replacement (draws,)."""
    return (bootstrap_eer if metric == "eer" else bootstrap_ratio)(parts, folds, seed=seed)


def metric_of(metric: str, parts: NDArray[np.float64], folds: Sequence[int]) -> float:
    """Give the metric of these items, in percent: of several folds the mean."""
    if metric == "eer":
        return equal_error_rate(parts[:, 0].astype(int), parts[:, 1])
    of = np.asarray(folds)
    sums = [parts[of == fold].sum(axis=0) for fold in np.unique(of)]
    return float(np.mean([100.0 * wrong / whole if whole else np.nan for wrong, whole in sums]))


def _edits(reference: Sequence[str], guess: Sequence[str]) -> Parts:
    return edits([reference], [guess])[0], len(reference)


def _words(reference: str, guess: str) -> Parts:
    return _edits(reference.split(), guess.split())


_PARTS: Final[dict[str, Callable[[Any, Any], Parts]]] = {
    "per": _edits,
    "cer": _edits,
    "wer": _words,
    "wer_lm": _words,
    "cer_lm": _edits,
    "ter": _edits,
    "acc": lambda reference, guess: (reference == guess, 1),
    "frame_acc": lambda r, g: (sum(map(operator.eq, r, g)), min(len(r), len(g))),
    "der": diarization.errors,
}
_OF_SLOTS: Final[dict[str, Callable[[Slots, Slots], Parts]]] = {
    "slot_type_f1": lambda reference, guess: (type_f1(reference, guess), 1),
    "slot_value_cer": value_errors,
}
