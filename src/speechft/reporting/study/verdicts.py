"""Published findings beside the study's numbers: held or not, each with its figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from speechft.reporting.spreads import Spread
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.specs import FindingSpec
from speechft.reporting.study.table import Difference, Table, paired_p

Outcome = Literal[
    "holds", "allowed", "leans", "one seed", "fails", "leans against", "one seed against",
    "not measured",
]  # fmt: skip
# In words: of what the paper has published, and of what it has not.
_WORDS: Final[dict[Outcome, tuple[str, str]]] = {
    "holds": ("as in the paper", "holds"),
    "allowed": ("as in the paper, within the spread", "holds, within the spread"),
    "leans": ("not told apart, direction as in the paper", "not told apart, direction as said"),
    "one seed": ("as in the paper, one seed", "holds, one seed"),
    "fails": ("not here", "does not hold"),
    "leans against": ("not told apart, direction not as in the paper",
                      "not told apart, direction not as said"),
    "one seed against": ("not here, one seed", "does not hold, one seed"),
    "not measured": ("not measured", "not measured"),
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One comparison of a finding.

    Attributes:
        first: this row should be better than
        second: this one,
        at_least: or as good.
        difference: how much better it is; none where it was not measured.
        same: whether both rows are the same encoder: a choice fell on the other row's.
    """

    first: str
    second: str
    at_least: bool
    difference: Difference | None
    same: bool

    @property
    def held(self) -> bool:
        """Whether the means stand as the finding says; as good is what the spread allows."""
        if self.difference is None:
            return False
        spread = self.difference.spread
        return spread.mean >= -(spread.sd or 0.0) if self.at_least else spread.mean > 0

    @property
    def clear(self) -> bool:
        """Whether they stand so by more than the seeds' spread; as good, without its help."""
        if self.difference is None or not self.held or self.difference.spread.sd is None:
            return False
        return self.difference.spread.mean >= 0 if self.at_least else self.difference.clear

    @property
    def against(self) -> bool:
        """Whether they stand the other way by more than the seeds' spread."""
        return self.difference is not None and not self.held and self.difference.clear


@dataclass(frozen=True)
class Claim:
    """A finding with what the numbers say of it.

    Attributes:
        finding: as the study states it.
        pairs: its comparisons.
        outcome: whether it holds here.
    """

    finding: FindingSpec
    pairs: tuple[Pair, ...]
    outcome: Outcome

    @property
    def verdict(self) -> str:
        """The outcome in words; only what the paper has published is as in the paper or not."""
        return _WORDS[self.outcome][not self.finding.published]


def judge(study: StudySettings, table: Table) -> list[Claim]:
    """Say of every finding whether the table shows it.

    A finding with one pair, or one that needs all its pairs, holds clearly where every mean
    difference exceeds the standard deviation of the seeds' differences; one that needs most of
    them where that is so for more than half. It fails where so many differences exceed it the
    other way that the rest are too few. Rows that are the same encoder are not counted.
    """
    return [_judge(finding, table) for finding in study.findings]


def _judge(finding: FindingSpec, table: Table) -> Claim:
    pairs = tuple(
        Pair(a, b, finding.at_least, table.difference(a, b, finding.metric), table.same(a, b))
        for a, b in finding.pairs
    )
    if any(pair.difference is None for pair in pairs):
        return Claim(finding, pairs, "not measured")
    return Claim(finding, pairs, _outcome(finding, [p for p in pairs if not p.same]))


def _outcome(finding: FindingSpec, pairs: Sequence[Pair]) -> Outcome:
    needed = len(pairs) if finding.need == "all" else len(pairs) // 2 + 1
    if not pairs:
        return "holds" if finding.at_least else "leans against"
    one = any(p.difference and p.difference.spread.sd is None for p in pairs)
    if sum(pair.held for pair in pairs) >= needed:
        if sum(pair.clear for pair in pairs) >= needed:
            return "holds"
        return "one seed" if one else ("allowed" if finding.at_least else "leans")
    if one:
        return "one seed against"
    lost = sum(pair.against for pair in pairs) > len(pairs) - needed
    return "fails" if lost else "leans against"


def mean_of(pairs: Sequence[Pair]) -> Difference | None:
    """Give the mean over several pairs, seed by seed: what pairs that share a row share, it holds.

    None where the pairs have not the same seeds.
    """
    found = [p.difference.spread.values for p in pairs if p.difference is not None]
    if len(found) < 2 or len({len(values) for values in found}) > 1:
        return None
    means = [statistics.fmean(values) for values in zip(*found, strict=True)]
    return Difference(Spread(tuple(means)), paired_p(means))
