"""The score of a suite of tasks, for suites that have no published reference values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from speechft.metrics.statistics import mean

SUITE_TEXT: Final = (
    "Suite score: 1000 × the mean over the tasks, each task the mean of its metrics' positions "
    "between 0 (an accuracy or F1 of 0 %, an error rate of 100 % or more) and 1 (perfect). "
    "It belongs to this suite of tasks and data; it is not SUPERB_S and cannot be compared with "
    "it."
)


def suite_score(scores: Mapping[str, Mapping[str, tuple[float, str]]]) -> float:
    """Give the suite score (see `SUITE_TEXT`).

    Args:
        scores: task → metric → (percent, direction).
    """
    tasks = []
    for metrics in scores.values():
        positions = [v / 100 if way == "higher" else 1 - v / 100 for v, way in metrics.values()]
        # A value that is no number makes a score that is none; max(0.0, nan) would make it 0.
        tasks.append(mean(0.0 if p < 0 else p for p in positions))
    return 1000 * mean(tasks)
