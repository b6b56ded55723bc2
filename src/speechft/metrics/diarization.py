"""Diarization error rate, with no collar and overlapping speech scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speechft.core.errors import DataError

# speaker, begin and end in seconds
Turn = tuple[str, float, float]


def diarization_error_rate(
    references: Sequence[Iterable[Turn]], hypotheses: Sequence[Iterable[Turn]]
) -> float:
    """Give missed, false and confused speaker time over the references' speaker time, in percent.

    In each recording speakers are mapped one to one so that the time in common is greatest. At
    each moment the error is max(reference speakers, found speakers) − rightly found ones.

    Args:
        references: per recording its turns (speaker, begin, end).
        hypotheses: as many recordings.

    Raises:
        DataError: the numbers of recordings differ, or nobody speaks in the references.

    Source:
        NIST md-eval with collar 0, as dscore calls it.
    """
    if len(references) != len(hypotheses):
        raise DataError(
            "as many diarized recordings as references are needed",
            expected=len(references),
            found=len(hypotheses),
        )
    pairs = [errors(r, h) for r, h in zip(references, hypotheses, strict=True)]
    total = sum(speech for _, speech in pairs)
    if total <= 0:
        raise DataError(
            "DER needs speech in the references", found=f"{len(references)} silent recordings"
        )
    return 100.0 * sum(wrong for wrong, _ in pairs) / total


def errors(reference: Iterable[Turn], hypothesis: Iterable[Turn]) -> tuple[float, float]:
    """Give the seconds of error and of reference speech in one recording."""
    from scipy.optimize import linear_sum_assignment

    wanted, found = list(reference), list(hypothesis)
    times = sorted({time for _, *span in (*wanted, *found) for time in span})
    lengths = np.array([b - a for a, b in pairwise(times)])
    truth, guess = _activity(wanted, times), _activity(found, times)
    common = (truth[:, None] & guess[None]) @ lengths
    rows, columns = linear_sum_assignment(common, maximize=True)
    both = np.maximum(truth.sum(axis=0), guess.sum(axis=0)) @ lengths
    return float(both - common[rows, columns].sum()), float(truth.sum(axis=0) @ lengths)


def _activity(turns: Sequence[Turn], times: Sequence[float]) -> NDArray[np.bool_]:
    """Tell which speaker speaks between which two of the times: (S, N)."""
    place = {time: i for i, time in enumerate(times)}
    speakers = {name: row for row, name in enumerate(dict.fromkeys(name for name, _, _ in turns))}
    active = np.zeros((len(speakers), max(0, len(times) - 1)), dtype=bool)
    for name, begin, end in turns:
        active[speakers[name], place[begin] : place[end]] = True
    return active
