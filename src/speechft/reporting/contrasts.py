"""How far one encoder's score is above another's, and whether intervals bear it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from speechft.reporting.measurements import Measurement, Scores, by_seed, different
from speechft.reporting.read_results import refuse_edited

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

    @cached_property
    def drawn(self) -> NDArray[np.float64]:
        """The metric with the items drawn anew; the same draws for the same items."""
        seed = zlib.crc32(repr(self.names).encode("utf-8", "surrogatepass"))
        folds = [fold for fold, _ in self.names]
        # Scores of trials have no mean over seeds that means anything.
        seeds = self.parts if self.metric == "eer" else [self.parts.mean(axis=0)]
        drawn = [drawn_anew(self.metric, own, folds, seed=seed) for own in seeds]
        return np.asarray(np.mean(drawn, axis=0), dtype=np.float64)


@dataclass
class Side:
    """An encoder's metrics with all seeds, as one side of contrasts; its predictions are read once.

    Attributes:
        measurements: the metrics.
    """

    measurements: Sequence[Measurement]

    @cached_property
    def items(self) -> dict[Metric, Items | None]:
        """Every metric item by item; none for one that cannot be had so."""
        found: dict[Metric, list[Items | None]] = {}
        for one in (m for m in self.measurements if m.metric not in BESIDE):
            found.setdefault((one.task, one.metric), []).append(_read(one))
        return {metric: _joined(own) for metric, own in found.items()}

    def only(self, metric: Metric) -> Side:
        """Give the side with one metric alone."""
        one = Side([m for m in self.measurements if (m.task, m.metric) == metric])
        one.items = {name: items for name, items in self.items.items() if name == metric}
        return one


@dataclass(frozen=True)
class Contrast:
    """One encoder's score minus another's.

    Attributes:
        seeds: interval over the seeds; none for one seed, or where they do not vary.
        items: interval over the items of the test sets; none where no predictions are kept, or a
            metric cannot be taken apart.
        changed: items for which the two differ.
        unlike: the two were not measured alike: on other test data, or by other probes.
    """

    seeds: Interval | None
    items: Interval | None
    changed: int
    unlike: bool = False

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


def contrast(ours: Side, theirs: Side, score: Score, level: float) -> Contrast:
    """Compare the scores of two encoders on the same tasks.

    Args:
        ours: one encoder.
        theirs: the other.
        score: of a suite, from task → metric → (percent, direction).
        level: of the intervals.
    """
    if _unlike(ours.measurements, theirs.measurements):
        return Contrast(None, None, 0, unlike=True)
    differences = paired(*(_seed_scores(side.measurements, score) for side in (ours, theirs)))
    seeds = None if differences is None else differences.interval(level)
    sides = [
        {metric: one for metric, one in side.items.items() if one is not None}
        for side in (ours, theirs)
    ]
    whole = sides[0] and [len(own) for own in sides] == [len(ours.items), len(theirs.items)]
    if not whole or {k: v.names for k, v in sides[0].items()} != {
        k: v.names for k, v in sides[1].items()
    }:
        return Contrast(seeds, None, 0)
    ways = {(m.task, m.metric): m.direction for m in ours.measurements}
    drawn = [_drawn_scores(side, ways, score) for side in sides]
    return Contrast(seeds, percentile_interval(drawn[0] - drawn[1], level), _changed(*sides))


def _unlike(ours: Sequence[Measurement], theirs: Sequence[Measurement]) -> bool:
    """Tell whether some task was measured on other data, or by another probe, in one of the two."""
    for task in {m.task for m in ours} & {m.task for m in theirs}:
        both = [m for m in (*ours, *theirs) if m.task == task]
        if len({m.data_hash for m in both if m.data_hash}) > 1 or different(both):
            return True
    return False


def _seed_scores(measurements: Sequence[Measurement], score: Score) -> dict[int, float]:
    seeds = by_seed(measurements)
    full = max((sum(map(len, s.values())) for s in seeds.values()), default=0)
    return {
        n: score(scores) for n, scores in seeds.items() if sum(map(len, scores.values())) == full
    }


def _drawn_scores(
    items: Mapping[Metric, Items], ways: Mapping[Metric, str], score: Score
) -> NDArray[np.float64]:
    drawn = {metric: one.drawn for metric, one in items.items()}
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


def _joined(seeds: Sequence[Items | None]) -> Items | None:
    """Join the seeds of a metric; nothing where one lacks, or is of other items."""
    whole = [one for one in seeds if one is not None]
    if len(whole) < len(seeds) or any(one.names != whole[0].names for one in whole):
        return None
    parts = np.concatenate([one.parts for one in whole])
    return Items(whole[0].metric, whole[0].names, parts)


def _read(one: Measurement) -> Items | None:
    """Read kept predictions; none where they are not those that the record's value is of."""
    rows = read_rows(one.predictions)
    if not rows:
        return None
    try:
        parts = item_parts(one.metric, rows, as_s3prl=one.protocol == "s3prl")
        names = tuple((int(row.get("fold", 0)), _name(row)) for row in rows)
        value = None if parts is None else metric_of(one.metric, parts, [n for n, _ in names])
    except (KeyError, TypeError, ValueError, AttributeError, DataError):
        return None
    if parts is None or value is None or not abs(value - one.value) < _ROUNDED:
        return None
    return Items(one.metric, names, parts[None])


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['id']} {row['other']}" if "other" in row else str(row["id"])


def answers_of(path: Path | None) -> tuple[list[str], list[str], list[int]]:
    """Give reference, prediction and fold of every kept item; nothing where they are not texts.

    Returns:
        Three lists; the last one is empty where there are no folds.
    """
    rows = [(r.get("reference"), r.get("prediction"), r.get("fold")) for r in read_rows(path)]
    texts = [(r, p, f) for r, p, f in rows if isinstance(r, str) and isinstance(p, str)]
    folds = [fold for *_, fold in texts if isinstance(fold, int)]
    references, predictions = [r for r, *_ in texts], [p for _, p, _ in texts]
    return references, predictions, folds if len(folds) == len(texts) else []


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Give a file's records; nothing where there are none that can be read.

    Raises:
        DataError: they are not what was written.
    """
    if path is None or not path.is_file():
        return []
    refuse_edited(path)
    try:
        rows = read_jsonl(path)
        return [row for row in rows if isinstance(row, dict)]
    except (OSError, ValueError):
        return []
