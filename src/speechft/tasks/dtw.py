"""Searching documents for spoken queries: distances of frames, and DTW with open ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from speechft.core.lengths import length_batches
from speechft.core.registry import deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional
    from torch.nn.utils import rnn
else:
    torch, functional, rnn = (
        deferred("torch"),
        deferred("torch.nn.functional"),
        deferred("torch.nn.utils.rnn"),
    )

SHORTEST: Final = 5  # frames; a shorter query scores 0 everywhere
_FLOOR: Final = 1e-9
# Padded document frames that are searched at once: what a CPU's cache likes, what keeps a GPU busy.
_BATCH_FRAMES: Final = {"cpu": 100_000, "cuda": 300_000}


def normalise(groups: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
    """Bring every dimension to mean 0 and deviation 1 over all frames of all groups.

    Args:
        groups: lists of frames (T, D), such as queries and documents.
    """
    count, total = 0, torch.zeros(())
    for frames in chain.from_iterable(groups):
        count, total = count + len(frames), total + frames.double().sum(dim=0)
    mean = total / count
    squares = torch.zeros(())
    for frames in chain.from_iterable(groups):
        squares = squares + (frames.double() - mean).square().sum(dim=0)
    deviation = (squares / max(1, count - 1)).sqrt().clamp(min=_FLOOR)
    return [[((f.double() - mean) / deviation).float() for f in group] for group in groups]


def search(queries: Sequence[Tensor], documents: Sequence[Tensor]) -> Tensor:
    """Give how well each query (T, D) is found in each document: (Q, N), higher is better.

    The distance of two frames is exp(cosine distance) − 1, scaled per query frame to [0, 1] over
    the document. A path begins and ends anywhere in the document, goes one query frame further
    with every step and 0, 1 or 2 document frames; the score is minus its mean distance.

    Source:
        S3PRL 0.4's QbE: dtw-python's step pattern "asymmetric" with open begin and end.
    """
    scores = torch.zeros(len(queries), len(documents))
    units = [functional.normalize(q, dim=1) for q in queries]
    device = documents[0].device if documents else torch.device("cpu")
    most = _BATCH_FRAMES.get(device.type, _BATCH_FRAMES["cpu"])
    for batch in length_batches([len(d) for d in documents], most):
        lengths = torch.tensor([len(documents[i]) for i in batch], device=device)
        padded = rnn.pad_sequence(
            [functional.normalize(documents[i], dim=1) for i in batch], batch_first=True
        )
        outside = torch.arange(padded.shape[1], device=device)[None] >= lengths[:, None]
        for row, query in enumerate(units):
            if len(query) >= SHORTEST:
                cost = _cost(query, padded, outside)
                scores[row, batch] = -cost.cpu()
    return scores


def z_norm(scores: Tensor) -> Tensor:
    """Bring every query's scores (Q, N) to mean 0 and population deviation 1."""
    deviation = scores.std(dim=1, correction=0, keepdim=True).clamp(min=_FLOOR)
    return (scores - scores.mean(dim=1, keepdim=True)) / deviation


def _cost(query: Tensor, documents: Tensor, outside: Tensor) -> Tensor:
    """Give the mean distance along the best path of a query (T, D) in documents (N, F, D): (N,)."""
    infinity = float("inf")
    cosine = (query @ documents.flatten(0, 1).T).view(len(query), *outside.shape)
    distance = torch.exp(1.0 - cosine).sub_(1.0)
    low = distance.masked_fill(outside, infinity).amin(dim=2, keepdim=True)
    high = distance.masked_fill(outside, -infinity).amax(dim=2, keepdim=True)
    distance = distance.sub_(low).div_((high - low).clamp_(min=_FLOOR))
    path = distance[0]
    for step in distance[1:]:
        before = functional.pad(path, (2, 0), value=infinity)
        best = torch.minimum(torch.minimum(before[:, 2:], before[:, 1:-1]), before[:, :-2])
        path = best + step
    return path.masked_fill(outside, infinity).amin(dim=1) / len(query)
