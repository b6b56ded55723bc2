"""The one place for statistics: means and spreads over seeds, intervals, tests, corrections.

Two sources of chance are told apart. Over seeds, differences are paired seed by seed and taken to
be normal (Student's t). Over the items of a test set, items are drawn anew with replacement (the
bootstrap), the same items for both encoders.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from speechft.core.registry import deferred

if TYPE_CHECKING:
    from scipy import special
else:
    special = deferred("scipy.special")

LEVEL: Final = 0.95
DRAWS: Final = 2000  # of the bootstrap
# With fewer items that differ, even if all differ the same way, no exact test reaches 5 %.
FEWEST_ITEMS: Final = 6


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float
    level: float = LEVEL

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside."""
        return not self.low <= value <= self.high

    def text(self, digits: int = 1) -> str:
        """Write it as `[-0.5, 2.9]`."""
        return f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class SeedValues:
    """Values of one figure, or of one difference, with several seeds, in the order of the seeds.

    Attributes:
        values: one per seed.
        seeds: which they are of, where that is said.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...] = field(default=(), compare=False)

    @property
    def mean(self) -> float:
        """Their mean."""
        return mean(self.values)

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation; none for a single seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def p(self) -> float:
        """The p of the two-sided t-test that the mean is 0; 1 where the seeds say nothing."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def interval(self, level: float = LEVEL) -> Interval | None:
        """Give the t interval of the mean; none for one seed, or where the seeds do not vary."""
        error = self._standard_error
        if error is None:
            return None
        reach = float(special.stdtrit(len(self.values) - 1, (1 + level) / 2)) * error
        return Interval(self.mean - reach, self.mean + reach, level)

    def p_above(self, bound: float) -> float:
        """Give the one-sided p for the mean being above a bound; 1 where the seeds say nothing.

        With a bound of −margin it is the test of "no worse": the half of two one-sided tests
        (TOST) that asks about a loss.
        """
        error = self._standard_error
        return 1.0 if error is None else float(self._tail((self.mean - bound) / error))

    def p_below(self, bound: float) -> float:
        """Give the one-sided p for the mean being below a bound; 1 where the seeds say nothing."""
        error = self._standard_error
        return 1.0 if error is None else float(self._tail((bound - self.mean) / error))

    def text(self, digits: int = 1, *, signed: bool = False) -> str:
        """Write it as `mean ± sd`; a difference with its sign."""
        tail = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        return f"{self.mean:{'+' if signed else ''}.{digits}f}{tail}"

    @property
    def _standard_error(self) -> float | None:
        return None if self.sd is None or self.sd < 1e-12 else self.sd / math.sqrt(len(self.values))

    def _tail(self, t: float) -> float:
        return float(special.stdtr(len(self.values) - 1, -t))


def mean(values: Iterable[float]) -> float:
    """Give the mean.

    Raises:
        ValueError: there is no value.
    """
    return statistics.fmean(values)


def finite_mean(values: Iterable[float]) -> float:
    """Give the mean of the values that are finite; not a number where there is none."""
    known = [value for value in values if math.isfinite(value)]
    return mean(known) if known else math.nan


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> SeedValues | None:
    """Give ours − theirs, seed by seed, over the seeds that both have; none where there is none."""
    seeds = sorted(set(ours) & set(theirs))
    values = tuple(ours[s] - theirs[s] for s in seeds)
    return SeedValues(values, tuple(seeds)) if seeds else None


def mean_by_seed(differences: Sequence[SeedValues]) -> SeedValues | None:
    """Give the mean of several differences, seed by seed; none where they are of other seeds.

    The seeds stay the units: differences that share a row share its chance.
    """
    if len({(len(one.values), one.seeds) for one in differences}) != 1:
        return None
    values = zip(*(one.values for one in differences), strict=True)
    return SeedValues(tuple(mean(of_seed) for of_seed in values), differences[0].seeds)


def at_least_so_many(p_values: Sequence[float], needed: int) -> float:
    """Give the p for at least `needed` of several hypotheses being true, however they depend.

    Source:
        Benjamini and Heller 2008, "Screening for Partial Conjunction Hypotheses", Bonferroni's
        version: (n − needed + 1) times the `needed`-th smallest p. All of them: the largest p.
    """
    return min(1.0, (len(p_values) - needed + 1) * sorted(p_values)[needed - 1])


class Corrected(NamedTuple):
    """A test among several.

    Attributes:
        p: corrected; below 1 − LEVEL the test stands.
        level: of the interval that leaves out the bound just where the test stands.
    """

    p: float
    level: float


def holm(p_values: Sequence[float]) -> list[Corrected]:
    """Correct the p of tests for their number, step by step.

    Source:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    found: dict[int, Corrected] = {}
    worst, level = 0.0, LEVEL
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        count = len(p_values) - rank
        if worst <= 1 - LEVEL:  # else all that follow stay at the level that did not stand
            level = 1 - (1 - LEVEL) / count
        worst = min(1.0, max(worst, count * p_values[place]))
        found[place] = Corrected(worst, level)
    return [found[i] for i in range(len(p_values))]


def bootstrap_ratio(
    parts: NDArray[np.float64],
    folds: Sequence[int] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> NDArray[np.float64]:
    """Give a metric of a test set whose items are drawn anew, in percent.

    Two encoders on the same items, in the same order, get the same draws with the same seed: their
    difference is paired.

    Args:
        parts: (N, 2), of every item its share of the numerator and of the denominator.
        folds: of every item, where the metric is the mean over folds.
        seed: of the draws.
        draws: how often.

    Returns:
        (draws,); where a draw has nothing in the denominator, not a number.
    """
    of = np.zeros(len(parts), dtype=int) if folds is None else np.asarray(folds)
    rng = np.random.default_rng(seed)
    found = []
    for fold in np.unique(of):
        own = parts[of == fold]
        sums = np.empty((draws, 2))
        for draw in range(draws):
            sums[draw] = own[rng.integers(len(own), size=len(own))].sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append(100.0 * sums[:, 0] / sums[:, 1])
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def percentile_interval(values: NDArray[np.float64], level: float = LEVEL) -> Interval | None:
    """Give the interval that holds the share `level` of draws; none where none is finite."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high), level)
