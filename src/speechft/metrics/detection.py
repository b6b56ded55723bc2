"""Detection metrics: EER and minDCF of speaker verification, MTWV of query-by-example search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechft.core.errors import DataError
from speechft.metrics.statistics import DRAWS

# NIST's speaker recognition evaluations since 2016: prior of one speaker; both errors cost 1.
P_ONE_SPEAKER: Final = 0.01
# QUESST 2014: prior of a match, costs of a false alarm and of a miss.
P_TARGET: Final = 0.0008
COST_FALSE_ALARM: Final = 1.0
COST_MISS: Final = 100.0


def equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> float:
    """Give the equal error rate in percent: where misses are as frequent as false alarms.

    The ROC curve is linear between its points.

    Args:
        labels: 1 for a match, 0 for none (N,).
        scores: higher where a match is more likely (N,).

    Raises:
        DataError: a kind of trial is missing, or a score is not finite.

    Source:
        S3PRL 0.4, ASV.
    """
    alarms, hits = _curve(labels, scores)
    above = 1.0 - hits - alarms  # misses − false alarms: falls from 1 to −1
    n = int(np.argmax(above <= 0))
    share = above[n - 1] / (above[n - 1] - above[n])
    return 100.0 * float(alarms[n - 1] + share * (alarms[n] - alarms[n - 1]))


def min_dcf(labels: ArrayLike, scores: ArrayLike, p_target: float = P_ONE_SPEAKER) -> float:
    """Give the least detection cost over all thresholds, in percent of the best blind decision's.

    The cost is p_target · P_miss + (1 − p_target) · P_false_alarm; who takes every trial for two
    speakers, or every one for one, has 100 % of the cheaper of the two.

    Args:
        labels: 1 for a match, 0 for none (N,).
        scores: higher where a match is more likely (N,).
        p_target: prior of a match.

    Raises:
        DataError: a kind of trial is missing, or a score is not finite.

    Source:
        NIST 2016 Speaker Recognition Evaluation Plan, costs of 1.
    """
    false_alarms, hits = _curve(labels, scores)
    costs = p_target * (1 - hits) + (1 - p_target) * false_alarms
    return 100.0 * float(costs.min()) / min(p_target, 1 - p_target)


def bootstrap_eer(
    trials: NDArray[np.float64],
    folds: Sequence[int] | None = None,  # noqa: ARG001 - no task with trials has folds
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> NDArray[np.float64]:
    """Give the EER, in percent, of trials that are drawn anew, as `bootstrap_ratio` does.

    Args:
        trials: (N, 2), label and score of each.
        folds: not read.
        seed: of the draws.
        draws: how often.

    Returns:
        (draws,); where a draw has trials of one kind alone, not a number.
    """
    order = np.argsort(-trials[:, 1], kind="stable")
    rng, found = np.random.default_rng(seed), np.full(draws, np.nan)
    for draw in range(draws):
        places = rng.integers(len(trials), size=len(trials))
        own = trials[np.repeat(order, np.bincount(places, minlength=len(trials))[order])]
        if 0 < own[:, 0].sum() < len(own):
            found[draw] = equal_error_rate(own[:, 0], own[:, 1])
    return found


def _curve(labels: ArrayLike, scores: ArrayLike) -> list[NDArray[np.float64]]:
    """Give shares of false alarms and of hits at all thresholds, from above every score on down.

    Raises:
        DataError: a kind of trial is missing, or a score is not finite.
    """
    wanted, found = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if not 0 < wanted.sum() < len(wanted):
        raise DataError(
            "an equal error rate needs trials of both kinds",
            expected="pairs of one speaker and of two speakers",
            found=f"{len(wanted)} trials, {int(wanted.sum())} of one speaker",
        )
    if not np.isfinite(found).all():
        raise DataError("a trial's score is not finite", found="NaN or infinity")
    order = np.argsort(-found, kind="stable")
    last = np.flatnonzero(np.append(np.diff(found[order]) != 0, True))
    sides = [np.cumsum(own[order])[last] for own in (1 - wanted, wanted)]
    return [np.append(0.0, own / own[-1]) for own in sides]


def mtwv(
    scores: ArrayLike,
    matches: Sequence[Sequence[bool]] | NDArray[np.bool_],
    trials: Sequence[tuple[int, int, int]] | None = None,
) -> float:
    """Give the maximum term-weighted value over all thresholds, in percent.

    TWV is 1 − (P_miss + beta · P_false_alarm), both probabilities averaged over the queries that
    match somewhere, with beta = (cost_fa / cost_miss) · (1 − p_target) / p_target. A threshold
    above every score gives 0.

    Where the lists have more queries and documents than were scored, each missing trial counts with
    a score below all others, as a missed match or a right rejection: so QUESST's scorer does when
    it is given −10 as the score of what is missing. Queries that match nowhere do not count.

    Args:
        scores: (Q, N), one row per query, one column per document.
        matches: (Q, N), true where the document contains the query.
        trials: of every query, what the lists hold: how many queries match somewhere, how many
            documents there are, and how many of them match this query; if not given, these.

    Raises:
        DataError: no query matches any document, or the shapes differ.

    Source:
        Anguera et al., "Query by Example Search on Speech at MediaEval 2014" (QUESST 2014); the
        README of its scorer, `score-TWV-Cnxe.sh STDLIST TRUTH DEFAULT_SCORE`.
    """
    best, _ = _best_threshold(scores, matches, trials)
    return 100.0 * best


def query_parts(
    scores: ArrayLike,
    matches: Sequence[Sequence[bool]] | NDArray[np.bool_],
    trials: Sequence[tuple[int, int, int]] | None = None,
) -> list[tuple[float, float]]:
    """Give what every query adds to the numerator and the denominator of `mtwv`, as it is called.

    The threshold is that of all queries together: an interval over queries drawn anew does not
    choose it again.

    Returns:
        (Q, 2); of a query that does not count twice 0.
    """
    return [(gain, share) for gain, share in _best_threshold(scores, matches, trials)[1].tolist()]


def _best_threshold(
    scores: ArrayLike,
    matches: Sequence[Sequence[bool]] | NDArray[np.bool_],
    trials: Sequence[tuple[int, int, int]] | None,
) -> tuple[float, NDArray[np.float64]]:
    """Give the best TWV, and per query what it adds there to both sides of the mean (Q, 2)."""
    found = np.asarray(scores, dtype=np.float64)
    wanted = np.asarray(matches, dtype=bool)
    if found.shape != wanted.shape or found.ndim != 2:
        raise DataError(
            "as many scores as matches are needed", expected=wanted.shape, found=found.shape
        )
    queries, documents = wanted.shape
    counted = int(wanted.any(axis=1).sum())
    listed = trials or [(counted, documents, int(row.sum())) for row in wanted]
    used = np.flatnonzero([targets for *_, targets in listed])
    found, wanted = found[used], wanted[used]
    if not len(used):
        raise DataError(
            "MTWV needs a query that occurs in a document", found=f"{queries} queries, no match"
        )
    beta = COST_FALSE_ALARM / COST_MISS * (1 - P_TARGET) / P_TARGET
    total, every, targets = (np.array(part)[:, None] for part in zip(*listed, strict=True))
    total, every, targets = total[used], every[used], targets[used]
    hits = wanted / targets
    alarms = ~wanted / np.maximum(every - targets, 1)
    gain = (hits - beta * alarms) / total
    order = np.argsort(-found.ravel(), kind="stable")
    values = np.cumsum(gain.ravel()[order])
    ordered = found.ravel()[order]
    last_of_score = np.append(ordered[1:] != ordered[:-1], True)
    ends, sums = ordered[last_of_score], values[last_of_score]
    threshold = ends[sums.argmax()] if sums.max() > 0 else np.inf
    parts = np.zeros((queries, 2))
    parts[used, 0] = np.where(found >= threshold, gain, 0.0).sum(axis=1)
    parts[used, 1] = 1 / len(used)
    return max(0.0, float(sums.max())), parts
