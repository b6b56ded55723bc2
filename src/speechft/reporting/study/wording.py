"""A finding's figures in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence

from speechft.reporting.study.table import Difference, sign_p
from speechft.reporting.study.verdicts import Claim, Pair, mean_of


def figures_of(claim: Claim) -> str:
    """Give the figures: every pair's difference, and where there are several, what they sum to."""
    measured = [p for p in claim.pairs if p.difference is not None]
    if not measured:
        return "Not measured yet."
    if len(measured) == 1:
        return _one(measured[0], claim.finding.metric)
    compared = [p for p in measured if not p.same]
    parts = [_pairs(compared)] if compared else []
    parts += [f"{p.first} is the same encoder as {p.second}" for p in measured if p.same]
    return _counts(compared, claim.finding.at_least) + "; ".join(parts)


def _counts(pairs: Sequence[Pair], at_least: bool) -> str:
    """Count what stands as the finding says; give the mean, which a shared row cannot steady."""
    if len(pairs) < 2:
        return ""
    held = sum(pair.held for pair in pairs)
    # Pairs that share a row are no coins of their own.
    rows = [row for pair in pairs for row in (pair.first, pair.second)]
    apart = len(set(rows)) == len(rows) and not at_least
    sign = f" (one-sided sign test p = {sign_p(held, len(pairs)):.2g})" if apart else ""
    mean = mean_of(pairs)
    return (
        f"{held} of {len(pairs)}{sign}; beyond the seeds' spread "
        f"{sum(pair.clear for pair in pairs)} for it, {sum(p.against for p in pairs)} against it"
        + (f"; mean of the pairs {mean.text()}{_p(mean)}" if mean else "")
        + ". "
    )


def _pairs(pairs: Sequence[Pair]) -> str:
    """Give each difference; the row that all are compared with is named once."""
    seconds = {pair.second for pair in pairs}
    shared = len(pairs) > 1 and len(seconds) == 1
    head = f"Against {seconds.pop()}: " if shared else ""
    return head + "; ".join(
        f"{p.first if shared else f'{p.first} against {p.second}'} "
        f"{p.difference.text()}{_p(p.difference)}"
        for p in pairs
        if p.difference
    )


def _one(pair: Pair, metric: str) -> str:
    difference = pair.difference
    if difference is None:
        return "not measured"
    if pair.same:
        return f"{pair.first} is the same encoder as {pair.second}."
    p = f", paired t-test p = {difference.p_text}" if difference.p_text else ""
    return f"{pair.first} against {pair.second}, {metric}: {difference.text()}{p}."


def _p(difference: Difference) -> str:
    return f" (p {difference.p_text})" if difference.p_text else ""
