"""Class by class: confusion matrix, precision, recall and F1, balanced accuracy, intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.metrics.statistics import DRAWS, Interval, mean, percentile_interval

Values = NDArray[np.float64]
OF_FOLDS: Final = "scores are means over the folds; classes are counted over all folds together"


@dataclass(frozen=True)
class ClassRow:
    """One class, in percent; an item is an utterance of the class."""

    name: str
    precision: float
    recall: float
    f1: float
    items: int


@dataclass(frozen=True)
class ClassReport:
    """What predictions of classes are worth.

    Attributes:
        names: all classes of references and predictions, sorted.
        matrix: [reference][prediction] → utterances, of all folds together.
        rows: per class, of all folds together.
        scores: `acc`, `uar` and `macro_f1`, in percent; of several folds their means.
        intervals: of the scores, over utterances drawn anew, folds apart.
        pooled: the scores of all utterances together, where there are folds.
        folds: number → the report of each fold.
    """

    names: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    rows: tuple[ClassRow, ...]
    scores: dict[str, float]
    intervals: dict[str, Interval]
    pooled: dict[str, float] = field(default_factory=dict)
    folds: dict[int, ClassReport] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values; those of folds say what is of which."""
        folded = {
            "note": OF_FOLDS,
            "pooled_scores": {name: round(value, 6) for name, value in self.pooled.items()},
            "folds": [{"fold": n, **fold.to_dict()} for n, fold in self.folds.items()],
        }
        return {
            "classes": list(self.names),
            "confusion": [list(row) for row in self.matrix],
            "per_class": [
                {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(row).items()}
                for row in self.rows
            ],
            "scores": {name: round(value, 6) for name, value in self.scores.items()},
            "intervals": {
                name: [round(one.low, 4), round(one.high, 4)]
                for name, one in self.intervals.items()
            },
            **(folded if self.folds else {}),
        }


def class_scores(references: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    """Give `acc`, `uar` (mean recall of the classes that occur) and `macro_f1`, in percent.

    A class that is only predicted counts as 0 for macro F1.

    Raises:
        DataError: there is no item, or the lists differ in number.
    """
    names, pairs = _pairs(references, predictions)
    return _scores(_counts(pairs, len(names)))


def class_report(
    references: Sequence[str],
    predictions: Sequence[str],
    folds: Sequence[int] = (),
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> ClassReport:
    """Give everything about predictions of classes; the bootstrap draws utterances.

    Args:
        references: the class of every item.
        predictions: what was said of it.
        folds: the number of every item's fold, where the scores are the means over folds.
        seed: of the draws.
        draws: how often.

    Raises:
        DataError: there is no item, or the lists differ in number.
    """
    names, pairs = _pairs(references, predictions)
    size, generator = len(names), np.random.default_rng(seed)
    counts = _counts(pairs, size)
    of = np.asarray(folds or [0] * len(pairs))
    numbers = np.unique(of).tolist()
    parts = [pairs[of == number] for number in numbers]
    drawn = [
        _mean(
            _scores(_counts(own[generator.integers(len(own), size=len(own))], size))
            for own in parts
        )
        for _ in range(draws)
    ]
    scores = _mean(_scores(_counts(own, size)) for own in parts)
    intervals = {n: percentile_interval(np.array([one[n] for one in drawn])) for n in scores}
    matrix = np.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size * size)
    precision, recall, f1 = (np.nan_to_num(100 * part) for part in _per_class(counts))
    return ClassReport(
        names=tuple(names),
        matrix=tuple(tuple(row) for row in matrix.reshape(size, size).tolist()),
        rows=tuple(
            ClassRow(name, float(precision[i]), float(recall[i]), float(f1[i]), int(counts[1][i]))
            for i, name in enumerate(names)
        ),
        scores=scores,
        intervals={name: one for name, one in intervals.items() if one is not None},
        pooled=_scores(counts) if folds else {},
        folds={
            number: class_report(*_named(own, names), seed=seed, draws=draws)
            for number, own in zip(numbers, parts, strict=True)
            if folds
        },
    )


def _named(pairs: NDArray[np.int64], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give references and predictions of what `_pairs` gave."""
    return [names[i] for i in pairs[:, 0]], [names[i] for i in pairs[:, 1]]


def _mean(scores: Iterable[dict[str, float]]) -> dict[str, float]:
    found = list(scores)
    return {name: mean(one[name] for one in found) for name in found[0]}


def _pairs(
    references: Sequence[str], predictions: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Give all classes, and of each item the places of reference and prediction (N, 2)."""
    if len(references) != len(predictions) or not references:
        raise DataError(
            "as many predictions as references are needed, and one at least",
            expected=len(references) or 1,
            found=len(predictions),
        )
    names = sorted({*references, *predictions})
    place = {name: i for i, name in enumerate(names)}
    both = zip(references, predictions, strict=True)
    return names, np.array([(place[r], place[p]) for r, p in both], dtype=np.int64)


def _counts(pairs: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Give, per class, items that are right, that belong to it, that are said to (3, C)."""
    right = pairs[pairs[:, 0] == pairs[:, 1], 0]
    own = (right, pairs[:, 0], pairs[:, 1])
    return np.stack([np.bincount(one, minlength=size) for one in own])


def _per_class(counts: NDArray[np.int64]) -> tuple[Values, Values, Values]:
    """Give precision, recall and F1 of every class (C,), not a number where undefined."""
    right, wanted, said = counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return right / said, right / wanted, 2 * right / (wanted + said)


def _scores(counts: NDArray[np.int64]) -> dict[str, float]:
    _, recall, f1 = _per_class(counts)
    return {
        "acc": 100 * float(counts[0].sum() / counts[1].sum()),
        "uar": 100 * float(np.nanmean(recall)),
        "macro_f1": 100 * float(np.nanmean(f1)),
    }
