"""Detection metrics: EER of speaker verification, MTWV of query-by-example search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from speechft.core.errors import DataError

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
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    wanted, found = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if len(set(wanted.tolist())) != 2:
        raise DataError(
            "an equal error rate needs trials of both kinds",
            expected="pairs of one speaker and of two speakers",
            found=f"{len(wanted)} trials, {int(wanted.sum())} of one speaker",
        )
    if not np.isfinite(found).all():
        raise DataError("a trial's score is not finite", found="NaN or infinity")
    false_alarms, hits, _ = roc_curve(wanted, found, pos_label=1)
    curve = interp1d(false_alarms, hits)
    return 100.0 * float(brentq(lambda x: 1.0 - x - curve(x), 0.0, 1.0))


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
    gain = ((hits - beta * alarms) / total).ravel()
    order = np.argsort(-found.ravel(), kind="stable")
    values = np.cumsum(gain[order])
    ordered = found.ravel()[order]
    last_of_score = np.append(ordered[1:] != ordered[:-1], True)
    return 100.0 * max(0.0, float(values[last_of_score].max()))
