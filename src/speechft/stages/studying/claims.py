"""Published findings beside the study's numbers: held or not, each with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from speechft.stages.studying.settings import FindingSpec, StudySettings
from speechft.stages.studying.tables import Difference, Table, sign_p

Verdict = Literal[
    "as in the paper",
    "as in the paper, within the spread",
    "as in the paper, one seed",
    "not here",
    "not measured",
]


@dataclass(frozen=True)
class Pair:
    """One comparison of a finding: the first row should be better than the second."""

    first: str
    second: str
    difference: Difference | None

    @property
    def held(self) -> bool:
        """Whether the means stand as the finding says."""
        return self.difference is not None and self.difference.spread.mean > 0

    @property
    def clear(self) -> bool:
        """Whether the means differ by more than the seeds' spread, either way."""
        return self.difference is not None and self.difference.clear


@dataclass(frozen=True)
class Claim:
    """A finding with what the numbers say of it.

    Attributes:
        finding: as the study states it.
        pairs: its comparisons.
        verdict: whether it holds here.
    """

    finding: FindingSpec
    pairs: tuple[Pair, ...]
    verdict: Verdict

    @property
    def text(self) -> str:
        """The figures, in a sentence or two."""
        measured = [p for p in self.pairs if p.difference is not None]
        if not measured:
            return "Not measured yet."
        if len(measured) == 1:
            return _one(measured[0], self.finding.metric)
        held = sum(pair.held for pair in measured)
        clear = sum(p.held and p.clear for p in measured)
        against = sum(not p.held and p.clear for p in measured)
        text = (
            f"{held} of {len(measured)} (sign test p = {sign_p(held, len(measured)):.2g}); beyond "
            f"the seeds' spread {clear} for it, {against} against it. "
        )
        return text + "; ".join(
            f"{_name(p, measured)} {p.difference.text()}" for p in measured if p.difference
        )


def judge(study: StudySettings, table: Table) -> list[Claim]:
    """Say of every finding whether the table shows it.

    A finding with one pair, or one that needs all its pairs, holds clearly where every mean
    difference exceeds the standard deviation of the seeds' differences; one that needs most of
    them where that is so for more than half.
    """
    return [_judge(finding, table) for finding in study.findings]


def _judge(finding: FindingSpec, table: Table) -> Claim:
    pairs = tuple(Pair(a, b, table.difference(a, b, finding.metric)) for a, b in finding.pairs)
    if any(pair.difference is None for pair in pairs):
        return Claim(finding, pairs, "not measured")
    needed = len(pairs) if finding.need == "all" else len(pairs) // 2 + 1
    held = sum(pair.held for pair in pairs)
    clear = sum(pair.held and pair.clear for pair in pairs)
    if held < needed:
        return Claim(finding, pairs, "not here")
    if clear < needed:
        if any(p.difference and p.difference.spread.sd is None for p in pairs):
            return Claim(finding, pairs, "as in the paper, one seed")
        return Claim(finding, pairs, "as in the paper, within the spread")
    return Claim(finding, pairs, "as in the paper")


def _name(pair: Pair, others: Sequence[Pair]) -> str:
    """Name a pair by its first row, or by both where several begin alike."""
    alike = sum(one.first == pair.first for one in others) > 1
    return f"{pair.first} against {pair.second}" if alike else pair.first


def _one(pair: Pair, metric: str) -> str:
    difference = pair.difference
    if difference is None:
        return "not measured"
    p = "" if difference.p is None else f", paired t-test p = {difference.p:.2g}"
    name = "score" if metric == "score" else metric
    return f"{pair.first} against {pair.second}, {name}: {difference.text()}{p}."
