"""Phonemes as units: one per frame, from the alignment of a cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE

SILENCE = "SIL"


def phoneme_units(
    cuts: Sequence[Cut], hop: int, sample_rate: int = SAMPLE_RATE
) -> tuple[list[NDArray[np.int32]], list[str]]:
    """Name the phoneme of every frame; frames between phonemes are silence, unit 0.

    Args:
        cuts: each with one supervision that holds an alignment of phonemes (`phone`).
        hop: samples per frame.
        sample_rate: of the samples that a hop counts, in Hz.

    Returns:
        One int32 array (T,) per cut, and the phoneme that each unit stands for.

    Raises:
        DataError: a cut has no alignment.
    """
    symbols: dict[str, int] = {SILENCE: 0}
    rate = sample_rate / hop
    result = []
    for cut in cuts:
        frames = np.zeros(max(1, int(cut.duration * rate)), np.int32)
        for item in _alignment(cut):
            begin, end = round(item.start * rate), round((item.start + item.duration) * rate)
            frames[max(begin, 0) : max(end, 0)] = symbols.setdefault(item.symbol, len(symbols))
        result.append(frames)
    return result, list(symbols)


def _alignment(cut: Cut) -> list[AlignmentItem]:
    for supervision in cut.supervisions:
        if supervision.alignment and supervision.alignment.get("phone"):
            return list(supervision.alignment["phone"])
    raise DataError(
        "an utterance has no alignment of phonemes",
        where=cut.id,
        expected="a supervision with an alignment named `phone`",
        found=", ".join(a for s in cut.supervisions for a in s.alignment or {}) or "none",
        hint="use cuts with forced alignments, or leave out `guide`",
    )
