"""Values over seeds, and the score of a suite of tasks."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

SUITE_TEXT = (
    "Suite score: 1000 × the mean over the tasks, each task the mean of its metrics' positions "
    "between 0 (an accuracy or F1 of 0 %, an error rate of 100 % or more) and 1 (perfect). "
    "It belongs to this suite of tasks and data; it is not SUPERB_S and cannot be compared with "
    "it."
)


@dataclass(frozen=True)
class Spread:
    """Values of several seeds, in the order of the seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation; none for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self, digits: int = 1) -> str:
        """Write it as `mean ± sd`."""
        tail = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        return f"{self.mean:.{digits}f}{tail}"


def suite_score(scores: Mapping[str, Mapping[str, tuple[float, str]]]) -> float:
    """Give the suite score (see `SUITE_TEXT`).

    Args:
        scores: task → metric → (percent, direction).
    """
    tasks = []
    for metrics in scores.values():
        positions = [v / 100 if way == "higher" else 1 - v / 100 for v, way in metrics.values()]
        # A value that is no number makes a score that is none; max(0.0, nan) would make it 0.
        tasks.append(statistics.fmean(0.0 if p < 0 else p for p in positions))
    return 1000 * statistics.fmean(tasks)
