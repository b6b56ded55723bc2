"""How far one encoder's score is above another's, and whether intervals bear it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.core.files import read_jsonl
from speechft.metrics.measures import BESIDE
from speechft.metrics.per_item import drawn_anew, item_parts, metric_of
from speechft.metrics.statistics import (
    FEWEST_ITEMS,
    LEVEL,
    Interval,
    paired,
    percentile_interval,
)
from speechft.reporting.measurements import Measurement, Scores, by_seed

Standing = Literal["above", "below", "open"]
Metric = tuple[str, str]
Score = Callable[[Scores], float]
_ROUNDED: Final = 1e-5  # records keep six digits


@dataclass(frozen=True)
class Items:
    """One metric of one encoder, item by item.

    Attributes:
        metric: its name.
        names: fold and id of every item, in order; of trials both ids.
        parts: (S, N, 2), of every seed as `item_parts` gives them.
    """

    metric: str
    names: tuple[tuple[int, str], ...]
    parts: NDArray[np.float64]

    def drawn(self) -> NDArray[np.float64]:
        """Give the metric with the items drawn anew; the same draws for the same items."""
        seed = zlib.crc32(repr(self.names).encode("utf-8", "surrogatepass"))
        folds = [fold for fold, _ in self.names]
        # Scores of trials have no mean over seeds that means anything.
        seeds = self.parts if self.metric == "eer" else [self.parts.mean(axis=0)]
        drawn = [drawn_anew(self.metric, own, folds, seed=seed) for own in seeds]
        return np.asarray(np.mean(drawn, axis=0), dtype=np.float64)


@dataclass(frozen=True)
class Contrast:
    """One encoder's score minus another's.

    Attributes:
        seeds: interval over the seeds; none for one seed, or where they do not vary.
        items: interval over the items of the test sets; none where no predictions are kept, or a
            metric cannot be taken apart.
        changed: items for which the two differ.
    """

    seeds: Interval | None
    items: Interval | None
    changed: int

    @property
    def standing(self) -> Standing:
        """Above or below only where every interval that there is bears it."""
        found = [one for one in (self.seeds, self.items) if one is not None]
        if not found or self.too_few_items:
            return "open"
        if all(one.low > 0 for one in found):
            return "above"
        return "below" if all(one.high < 0 for one in found) else "open"

    @property
    def too_few_items(self) -> bool:
        """Whether the test sets are too small to tell."""
        few = self.changed < FEWEST_ITEMS
        return self.items is not None and (few or not self.items.excludes(0.0))

    @property
    def text(self) -> str:
        """The intervals in words; empty where there is none."""
        found = (("the seeds", self.seeds), ("the test items", self.items))
        parts = [f"over {what} {one.text(0)}" for what, one in found if one is not None]
        level = next((one.level for one in (self.seeds, self.items) if one is not None), LEVEL)
        return f"{100 * level:.4g} % interval {' and '.join(parts)}" if parts else ""


def contrast(
    ours: Sequence[Measurement], theirs: Sequence[Measurement], score: Score, level: float
) -> Contrast:
    """Compare the scores of two encoders on the same tasks.

    Args:
        ours: all metrics of one encoder, with all seeds.
        theirs: those of the other.
        score: of a suite, from task → metric → (percent, direction).
        level: of the intervals.
    """
    differences = paired(*(_seed_scores(side, score) for side in (ours, theirs)))
    seeds = None if differences is None else differences.interval(level)
    sides = [_items(side) for side in (ours, theirs)]
    if not all(sides) or {k: v.names for k, v in sides[0].items()} != {
        k: v.names for k, v in sides[1].items()
    }:
        return Contrast(seeds, None, 0)
    ways = {(m.task, m.metric): m.direction for m in ours}
    drawn = [_drawn_scores(side, ways, score) for side in sides]
    return Contrast(seeds, percentile_interval(drawn[0] - drawn[1], level), _changed(*sides))


def _seed_scores(measurements: Sequence[Measurement], score: Score) -> dict[int, float]:
    seeds = by_seed(measurements)
    full = max((sum(map(len, s.values())) for s in seeds.values()), default=0)
    return {
        n: score(scores) for n, scores in seeds.items() if sum(map(len, scores.values())) == full
    }


def _drawn_scores(
    items: Mapping[Metric, Items], ways: Mapping[Metric, str], score: Score
) -> NDArray[np.float64]:
    drawn = {metric: one.drawn() for metric, one in items.items()}
    found = []
    for place in range(len(next(iter(drawn.values())))):
        scores: Scores = {}
        for (task, metric), values in drawn.items():
            scores.setdefault(task, {})[metric] = (float(values[place]), ways[task, metric])
        found.append(score(scores))
    return np.array(found)


def _changed(ours: Mapping[Metric, Items], theirs: Mapping[Metric, Items]) -> int:
    """Count the items of which any metric differs."""
    differ = {
        (task, *name)
        for (task, metric), own in ours.items()
        for n, name in enumerate(own.names)
        if (own.parts[:, n].mean(axis=0) != theirs[task, metric].parts[:, n].mean(axis=0)).any()
    }
    return len(differ)


def _items(measurements: Sequence[Measurement]) -> dict[Metric, Items]:
    """Give every metric item by item; nothing where one cannot be had so."""
    found: dict[Metric, list[Items]] = {}
    for one in (m for m in measurements if m.metric not in BESIDE):
        items = _read(one)
        own = found.setdefault((one.task, one.metric), [])
        if items is None or (own and own[0].names != items.names):
            return {}
        own.append(items)
    return {
        metric: Items(metric[1], own[0].names, np.concatenate([one.parts for one in own]))
        for metric, own in found.items()
    }


def _read(one: Measurement) -> Items | None:
    """Read kept predictions; none where they are not those that the record's value is of."""
    rows = read_rows(one.predictions)
    if not rows:
        return None
    try:
        parts = item_parts(one.metric, rows)
        names = tuple((int(row.get("fold", 0)), _name(row)) for row in rows)
        value = None if parts is None else metric_of(one.metric, parts, [n for n, _ in names])
    except (KeyError, TypeError, ValueError, AttributeError, DataError):
        return None
    if parts is None or value is None or not abs(value - one.value) < _ROUNDED:
        return None
    return Items(one.metric, names, parts[None])


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['id']} {row['other']}" if "other" in row else str(row["id"])


def pairs_of(path: Path | None) -> list[tuple[str, str]]:
    """Give reference and prediction of every kept item; nothing where they are not texts."""
    pairs = [(row.get("reference"), row.get("prediction")) for row in read_rows(path)]
    return [(str(r), str(p)) for r, p in pairs if isinstance(r, str) and isinstance(p, str)]


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Give kept predictions; nothing where there are none that can be read."""
    try:
        return [] if path is None or not path.is_file() else list(read_jsonl(path))
    except (OSError, ValueError):
        return []
