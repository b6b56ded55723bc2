"""Losses of ASV and SD."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional


def am_softmax(
    cosines: Tensor, classes: Tensor, scale: float = 30.0, margin: float = 0.4
) -> Tensor:
    """Give the additive-margin softmax loss, mean over the batch, in float32.

    Args:
        cosines: (B, C), between utterances and classes.
        classes: (B,).
        scale: what the cosines are multiplied with.
        margin: what is taken off the right class' cosine first.

    Source:
        Wang et al., "Additive Margin Softmax for Face Verification", 2018, equation 6.
    """
    right = functional.one_hot(classes, cosines.shape[1])
    return functional.cross_entropy(scale * (cosines.float() - margin * right), classes)


def best_order(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the labels' columns in the order with the least binary cross entropy, and that loss.

    Args:
        logits: (T, S) of one recording.
        labels: (T, S), 0 or 1.

    Returns:
        The labels in that order, and the loss: mean over speakers, sum over frames.
    """
    orders = [labels[:, list(order)] for order in permutations(range(labels.shape[1]))]
    costs = torch.stack(
        [functional.binary_cross_entropy_with_logits(logits, o, reduction="sum") for o in orders]
    )
    best = int(costs.argmin())
    return orders[best], costs[best] / labels.shape[1]


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
