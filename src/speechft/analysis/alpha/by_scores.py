"""Scores along the way from θ0 to θ': what the source task gains, what the others lose."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speechft.metrics.measures import direction, goodness
from speechft.metrics.per_item import drawn_anew
from speechft.metrics.statistics import mean, percentile_interval


@dataclass(frozen=True)
class Scored:
    """A task's first metric on the dev split.

    Attributes:
        metric: its name.
        value: in percent.
        parts: each item's share of numerator and denominator (N, 2), the same items in the same
            order at every alpha; none for a metric that is no ratio, which gets no spread.
        answered: symbols that the probe gave, as a share of those that were said; none where its
            answers are no sequences of symbols.
    """

    metric: str
    value: float
    parts: NDArray[np.float64] | None = None
    answered: float | None = None

    @property
    def good(self) -> float:
        """The value, of an error 100 − e, 0 where that is below."""
        return goodness(self.value, direction(self.metric))


Scores = Mapping[str, Scored]
"""Task → its score at one alpha."""


@dataclass(frozen=True)
class Point:
    """One alpha on the trade-off.

    Attributes:
        alpha: of it.
        mean: mean first metric over all tasks, errors as 100 − e.
        gain: of the source tasks' first metrics, against θ0; none where none was scored.
        kept: of θ0's mean over the other tasks, a share; none without any, or where that is 0.
        low: the lower bound of its interval over items.
    """

    alpha: float
    mean: float
    gain: float | None
    kept: float | None
    low: float | None


def trade_off(
    scores: Mapping[float, Scores], source: Collection[str] = (), *, seed: int = 0
) -> dict[float, Point]:
    """Give what is gained and lost at every alpha, against alpha = 0.

    Args:
        scores: alpha → scores; 0 must be among them.
        source: the tasks that θ' was tuned on.
        seed: of the bootstrap over items, 95 % by percentiles, paired with θ0.

    Raises:
        KeyError: there is no score at alpha = 0.
    """
    start = scores[0.0]
    others = [task for task in start if task not in source]
    goals = [task for task in start if task in source]
    ground = _draws(start, others, seed)
    points = {}
    for alpha, own in sorted(scores.items()):
        kept = low = None
        before = mean(start[t].good for t in others) if others else 0.0
        if before > 0:  # else θ0 has nothing that could be kept
            kept = mean(own[t].good for t in others) / before
            with np.errstate(invalid="ignore", divide="ignore"):
                interval = percentile_interval(_draws(own, others, seed) / ground)
            low = None if interval is None else interval.low
        gain = mean(own[t].good - start[t].good for t in goals) if goals else None
        points[alpha] = Point(alpha, mean(one.good for one in own.values()), gain, kept, low)
    return points


def choose(points: Mapping[float, Point], retain: float | None = None) -> float:
    """Choose an alpha.

    Without `retain` the highest mean over all tasks wins. With it, of the points that keep so much
    of θ0's mean on the other tasks, at the lower bound, the one that gains most on the source task,
    or the largest where that was not scored. The smallest of equals wins; θ0 keeps all of itself.

    Args:
        points: of `trade_off`.
        retain: share that must be kept.
    """
    if retain is None:
        return max(points.values(), key=lambda p: (p.mean, -p.alpha)).alpha
    held = [p for p in points.values() if p.alpha == 0 or (p.low is not None and p.low >= retain)]
    if all(point.gain is None for point in held):
        return max(point.alpha for point in held)
    return max(held, key=lambda p: (p.gain or 0.0, -p.alpha)).alpha


def _draws(scores: Scores, tasks: Sequence[str], seed: int) -> NDArray[np.float64]:
    """Give the mean over tasks with items drawn anew, each task by itself."""
    found = []
    for number, task in enumerate(tasks):
        one = scores[task]
        if one.parts is None:
            found.append(np.asarray(one.good))
        else:
            values = drawn_anew(one.metric, one.parts, seed=seed + number)
            good = values if direction(one.metric) == "higher" else 100.0 - values
            found.append(np.maximum(good, 0.0))
    return np.asarray(sum(found) / max(1, len(found)), dtype=np.float64)
