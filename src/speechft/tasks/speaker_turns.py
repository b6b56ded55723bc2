"""Who speaks when: segments to frame labels, their loss, and probabilities back to segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from speechft.core.lengths import HOP, SAMPLE_RATE
from speechft.core.registry import deferred
from speechft.metrics.diarization import Turn

if TYPE_CHECKING:
    import torch
    from lhotse.cut import Cut
    from torch import Tensor
    from torch.nn import functional
else:
    torch, functional = deferred("torch"), deferred("torch.nn.functional")

_SHORTEST: Final = 1600  # samples of a last chunk that is worth keeping


def chunks(cut: Cut, frames: int, *, drop_spanning: bool) -> list[Cut]:
    """Cut a recording into pieces of so many frames of 20 ms, the last one as long as what is left.

    Args:
        cut: a recording with one supervision per segment.
        frames: of a piece.
        drop_spanning: leave out a segment in a piece that it fills from before its start to behind
            its end, as S3PRL does.
    """
    total, size = round(cut.duration * SAMPLE_RATE), frames * HOP
    if total <= size:
        return [cut]
    starts = [s for s in range(0, total, size) if total - s >= _SHORTEST]
    return [_chunk(cut, s, min(size, total - s), drop_spanning) for s in starts]


def whole_frames(cut: Cut) -> Cut:
    """Give a recording without what is left behind its last whole frame of 20 ms."""
    changed: Any = {"duration": frames_of(cut) * HOP / SAMPLE_RATE}
    return replace(cut, **changed)


def frame_labels(turns: Iterable[Turn], frames: int, speakers: int, hop: int = HOP) -> Tensor:
    """Give who speaks in each frame (T, S), int64: columns in the order of the speakers' names.

    Where fewer than S speak, the last columns stay 0.
    """
    known = list(turns)
    names = sorted({name for name, _, _ in known})[:speakers]
    labels = torch.zeros(frames, speakers, dtype=torch.long)
    for name, begin, end in known:
        if name in names:
            first, last = (int(np.rint(time * SAMPLE_RATE / hop)) for time in (begin, end))
            labels[first:last, names.index(name)] = 1
    return labels


def turns_of(cut: Cut) -> list[Turn]:
    """Give the segments of a recording, cut to its length."""
    found = [
        (str(s.speaker), max(0.0, s.start), min(s.end, cut.duration)) for s in cut.supervisions
    ]
    return [(name, begin, end) for name, begin, end in found if end > begin]


def frames_of(cut: Cut, hop: int = HOP) -> int:
    """Give the number of label frames of a recording."""
    return round(float(cut.duration) * SAMPLE_RATE) // hop


def decide(
    probabilities: NDArray[np.float32], threshold: float, median: int, hop: int = HOP
) -> list[Turn]:
    """Turn probabilities (T, S) into segments.

    Args:
        probabilities: that a speaker speaks.
        threshold: above which it is so.
        median: odd width in frames of a median filter over the decisions; 1 for none.
        hop: samples per frame.
    """
    from scipy.signal import medfilt

    turns: list[Turn] = []
    for speaker, column in enumerate((probabilities > threshold).astype(np.float64).T):
        active = medfilt(column, median) if median > 1 else column
        edges = np.flatnonzero(np.diff(np.concatenate([[0.0], active, [0.0]])))
        for begin, end in edges.reshape(-1, 2).tolist():
            turns.append((str(speaker), begin * hop / SAMPLE_RATE, end * hop / SAMPLE_RATE))
    return turns


def most_speakers(cuts: Sequence[Cut]) -> int:
    """Give the largest number of speakers in a recording."""
    return max((len({s.speaker for s in cut.supervisions}) for cut in cuts), default=0)


def _chunk(cut: Cut, start: int, length: int, drop_spanning: bool) -> Cut:
    begin, end = start / SAMPLE_RATE, (start + length) / SAMPLE_RATE
    kept = []
    for s in cut.supervisions:
        spans = s.start < begin and s.end > end
        if s.start >= end or s.end <= begin or (drop_spanning and spans):
            continue
        first, last = max(s.start, begin), min(s.end, end)
        kept.append(replace(s, start=first - begin, duration=last - first))
    changed: dict[str, Any] = {"start": cut.start + begin, "duration": end - begin}
    return replace(cut, id=f"{cut.id}-{start // HOP:06d}", supervisions=kept, **changed)


def best_order(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the labels' columns in the order with the least binary cross entropy, and that loss.

    Args:
        logits: (T, S) of one recording.
        labels: (T, S), 0 or 1.

    Returns:
        The labels in that order, and the loss: mean over speakers, sum over frames.
    """
    # softplus(logit) − logit · label, summed: the first part is the same in every order.
    best = labels[:, matched(-(logits.detach().double().T @ labels.double()))]
    cost = functional.binary_cross_entropy_with_logits(logits, best, reduction="sum")
    return best, cost / labels.shape[1]


def matched(costs: Tensor) -> list[int]:
    """Give, of a matrix of costs (S, S), the column for each row so that their sum is least."""
    from scipy.optimize import linear_sum_assignment

    order: list[int] = linear_sum_assignment(costs.nan_to_num().cpu().numpy())[1].tolist()
    return order


def permutation_free(logits: Tensor, lengths: Sequence[int], labels: Sequence[Tensor]) -> Tensor:
    """Give the permutation-free binary cross entropy in float32: per recording the best order.

    Args:
        logits: (B, T, S).
        lengths: frames of each recording that count.
        labels: per recording at least so many rows (T, S).

    Returns:
        The summed losses over the summed frames.

    Source:
        Fujita et al., "End-to-End Neural Speaker Diarization with Permutation-Free Objectives",
        2019.
    """
    losses = [
        best_order(row[:n].float(), own[:n].to(row.device, torch.float32))[1]
        for row, n, own in zip(logits, lengths, labels, strict=True)
    ]
    return torch.stack(losses).sum() / sum(lengths)
