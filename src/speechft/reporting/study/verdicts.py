"""Whether a study's findings hold: each by its interval, all corrected for their number.

Each is said in words, with its figures in a sentence or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from speechft.metrics.statistics import LEVEL, SeedValues, at_least_so_many, holm, mean_by_seed
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.stage_and_row_settings import FindingSpec
from speechft.reporting.study.table import Table

Outcome = Literal["holds", "fails", "open", "not measured"]
# In words: of what the paper has published, and of what it has not.
_WORDS: Final[dict[Outcome, tuple[str, str]]] = {
    "holds": ("as in the paper", "holds"),
    "fails": ("not here", "does not hold"),
    "open": ("not told apart", "not told apart"),
    "not measured": ("not measured", "not measured"),
}


@dataclass(frozen=True)
class Pair:
    """One comparison of a finding.

    Attributes:
        first: this row should be better than
        second: this one, or no worse.
        difference: how much better it is, seed by seed; none where it was not measured.
        same: whether both rows are the same encoder: a choice fell on the other row's.
    """

    first: str
    second: str
    difference: SeedValues | None
    same: bool


@dataclass(frozen=True)
class Verdict:
    """What the numbers say of a finding.

    Attributes:
        finding: as the study states it.
        pairs: its comparisons.
        outcome: whether it holds here.
        p: corrected for the number of the study's findings.
        level: of the pairs' intervals, by which the finding is judged.
    """

    finding: FindingSpec
    pairs: tuple[Pair, ...]
    outcome: Outcome
    p: float
    level: float

    @property
    def text(self) -> str:
        """The outcome in words; only what the paper has published is as in the paper or not."""
        return _WORDS[self.outcome][not self.finding.published]


def judge(study: StudySettings, table: Table) -> list[Verdict]:
    """Say of every finding whether the table shows it.

    A pair stands where the interval of its difference lies above 0 (above −margin, where as good is
    enough). A finding holds where all of its pairs stand, or more than half where it needs most;
    it fails where so many stand the other way that the rest are too few; else the rows are not told
    apart. The 95 % are those of all findings of the study together (Holm). Rows that are the same
    encoder do not count, and one seed says nothing.
    """
    pairs = [_pairs(finding, table) for finding in study.findings]
    sides = [_sides(f, own) for f, own in zip(study.findings, pairs, strict=True)]
    corrected = holm([min(1.0, 2 * min(side)) for side in sides])
    verdicts = []
    for finding, own, (above, below), (p, level) in zip(
        study.findings, pairs, sides, corrected, strict=True
    ):
        outcome: Outcome = "open"
        if any(pair.difference is None for pair in own):
            outcome = "not measured"
        elif finding.at_least and all(pair.same for pair in own):
            outcome = "holds"
        elif p < 1 - LEVEL:
            outcome = "holds" if above < below else "fails"
        verdicts.append(Verdict(finding, own, outcome, p, level))
    return verdicts


def _pairs(finding: FindingSpec, table: Table) -> tuple[Pair, ...]:
    return tuple(
        Pair(a, b, table.difference(a, b, finding.metric), table.same(a, b))
        for a, b in finding.pairs
    )


def _sides(finding: FindingSpec, pairs: Sequence[Pair]) -> tuple[float, float]:
    """Give the p for the finding, and that for its contrary; both 1 where nothing can be said."""
    found = [p.difference for p in pairs if p.difference is not None and not p.same]
    if len(found) < sum(not p.same for p in pairs) or not found:
        return 1.0, 1.0
    needed = len(found) if finding.need == "all" else len(found) // 2 + 1
    above = [difference.p_above(-finding.margin) for difference in found]
    below = [difference.p_below(-finding.margin) for difference in found]
    return at_least_so_many(above, needed), at_least_so_many(below, len(found) - needed + 1)


def figures_of(verdict: Verdict) -> str:
    """Give the figures: every pair's difference with its interval, and the mean over several."""
    measured = [p for p in verdict.pairs if p.difference is not None]
    if not measured:
        return "Not measured yet."
    parts = [_pairs_text([p for p in measured if not p.same], verdict)]
    parts += [f"{p.first} is the same encoder as {p.second}" for p in measured if p.same]
    return "; ".join(filter(None, parts)) + "."


def _pairs_text(pairs: Sequence[Pair], verdict: Verdict) -> str:
    """Give each difference; the row that all are compared with is named once."""
    if not pairs:
        return ""
    seconds = {pair.second for pair in pairs}
    shared = len(pairs) > 1 and len(seconds) == 1
    head = f"Against {seconds.pop()}: " if shared else ""
    text = head + "; ".join(
        f"{p.first if shared else f'{p.first} against {p.second}'} "
        f"{_difference(p.difference, verdict.level)}"
        for p in pairs
        if p.difference
    )
    margin = verdict.finding.margin
    bound = f"; as good means above -{margin:g}" if margin else ""
    text += f" ({verdict.finding.metric}; intervals at {100 * verdict.level:.2f} %{bound}"
    text += f"; p with Holm's correction {verdict.p:.2g})"
    mean = mean_by_seed([p.difference for p in pairs if p.difference]) if pairs[1:] else None
    return text + (f"; mean of the pairs {_difference(mean, verdict.level)}" if mean else "")


def _difference(difference: SeedValues, level: float) -> str:
    interval = difference.interval(level)
    tail = "" if interval is None else f" {interval.text()}"
    return f"{difference.text(signed=True)}{tail}"
