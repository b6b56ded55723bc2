"""Published findings beside the study's numbers: held or not, each with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from speechft.stages.studying.settings import StudySettings
from speechft.stages.studying.specs import FindingSpec
from speechft.stages.studying.tables import Difference, Table, sign_p

Outcome = Literal["holds", "within the spread", "one seed", "fails", "not measured"]
# In words: of what the paper has published, and of what it has not.
_WORDS: Final[dict[Outcome, tuple[str, str]]] = {
    "holds": ("as in the paper", "holds"),
    "within the spread": ("as in the paper, within the spread", "holds, within the spread"),
    "one seed": ("as in the paper, one seed", "holds, one seed"),
    "fails": ("not here", "does not hold"),
    "not measured": ("not measured", "not measured"),
}


@dataclass(frozen=True)
class Pair:
    """One comparison of a finding.

    Attributes:
        first: this row should be better than
        second: this one,
        at_least: or as good.
        difference: how much better it is; none where it was not measured.
    """

    first: str
    second: str
    at_least: bool
    difference: Difference | None

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

    @property
    def text(self) -> str:
        """The figures, in a sentence or two."""
        measured = [p for p in self.pairs if p.difference is not None]
        if not measured:
            return "Not measured yet."
        if len(measured) == 1:
            return _one(measured[0], self.finding.metric)
        held = sum(pair.held for pair in measured)
        clear = sum(pair.clear for pair in measured)
        against = sum(pair.against for pair in measured)
        # Pairs that share a row are no coins of their own.
        rows = [row for pair in measured for row in (pair.first, pair.second)]
        apart = len(set(rows)) == len(rows) and not self.finding.at_least
        sign = f" (sign test p = {sign_p(held, len(measured)):.2g})" if apart else ""
        text = (
            f"{held} of {len(measured)}{sign}; beyond the seeds' spread {clear} for it, "
            f"{against} against it. "
        )
        return text + "; ".join(
            f"{_name(p, measured)} {p.difference.text()}{_p(p.difference)}"
            for p in measured
            if p.difference
        )


def judge(study: StudySettings, table: Table) -> list[Claim]:
    """Say of every finding whether the table shows it.

    A finding with one pair, or one that needs all its pairs, holds clearly where every mean
    difference exceeds the standard deviation of the seeds' differences; one that needs most of
    them where that is so for more than half.
    """
    return [_judge(finding, table) for finding in study.findings]


def _judge(finding: FindingSpec, table: Table) -> Claim:
    pairs = tuple(
        Pair(a, b, finding.at_least, table.difference(a, b, finding.metric))
        for a, b in finding.pairs
    )
    if any(pair.difference is None for pair in pairs):
        return Claim(finding, pairs, "not measured")
    needed = len(pairs) if finding.need == "all" else len(pairs) // 2 + 1
    held = sum(pair.held for pair in pairs)
    clear = sum(pair.clear for pair in pairs)
    if held < needed:
        return Claim(finding, pairs, "fails")
    if clear < needed:
        if any(p.difference and p.difference.spread.sd is None for p in pairs):
            return Claim(finding, pairs, "one seed")
        return Claim(finding, pairs, "within the spread")
    return Claim(finding, pairs, "holds")


def _name(pair: Pair, others: Sequence[Pair]) -> str:
    """Name a pair by its first row, or by both where several begin alike."""
    alike = sum(one.first == pair.first for one in others) > 1
    return f"{pair.first} against {pair.second}" if alike else pair.first


def _one(pair: Pair, metric: str) -> str:
    difference = pair.difference
    if difference is None:
        return "not measured"
    p = f", paired t-test p = {difference.p_text}" if difference.p_text else ""
    return f"{pair.first} against {pair.second}, {metric}: {difference.text()}{p}."


def _p(difference: Difference) -> str:
    return f" (p {difference.p_text})" if difference.p_text else ""
