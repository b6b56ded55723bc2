"""A finding's figures in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from speechft.metrics.statistics import SeedValues, mean_by_seed
from speechft.reporting.study.verdicts import Pair, Verdict


def figures_of(verdict: Verdict) -> str:
    """Give the figures: every pair's difference with its interval, and the mean over several."""
    measured = [p for p in verdict.pairs if p.difference is not None]
    if not measured:
        return "Not measured yet."
    parts = [_pairs([p for p in measured if not p.same], verdict)]
    parts += [f"{p.first} is the same encoder as {p.second}" for p in measured if p.same]
    return "; ".join(filter(None, parts)) + "."


def _pairs(pairs: Sequence[Pair], verdict: Verdict) -> str:
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
