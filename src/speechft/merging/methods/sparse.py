"""Methods that keep only a part of each task vector: TIES, DARE, Model Breadcrumbs.

Entries are ranked within each tensor: so does the paper of Breadcrumbs; that of TIES ranks all
weights of one task vector, which no streaming merger does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from speechft.merging.methods.base import (
    TensorContext,
    Tuned,
    Weights,
    add_all,
    average,
    merge_method,
    move,
    scaled,
    task_vectors,
)
from speechft.merging.methods.parameters import Share
from speechft.merging.tensorfile import Array

Rescale = Literal["expected", "norm", "none"]


@merge_method(
    "ties",
    title="TIES",
    paper="Yadav et al. 2023 (arXiv 2306.01708)",
    formula="θ̂ = θ0 + alpha · disjoint mean over i of the largest entries of θ'_i − θ0 that have "
    "the elected sign",
)
def ties(
    base: Array,
    tuned: Tuned,
    *,
    alpha: float = 1.0,
    density: Share = 0.2,
    normalize: bool = True,
    weights: Weights = None,
) -> Array:
    """Trim small changes, elect a sign per weight, average the encoders that agree with it.

    Args:
        alpha: scale of the merged task vector (λ in the paper).
        density: fraction of each task vector that is kept, the largest magnitudes.
        normalize: mean over those who agree; else their sum.
        weights: of the tuned encoders, 1 if not given.
    """
    trimmed = [keep_largest(vector, density) for vector in task_vectors(base, tuned)]
    vector = elect(trimmed, weights, normalize=normalize)
    return move(base, vector, alpha)


@merge_method(
    "dare_linear",
    title="DARE with linear merging",
    paper="Yu et al. 2024 (arXiv 2311.03099)",
    formula="θ̂ = θ0 + alpha · mean_i(mask_i · (θ'_i − θ0) / density)",
    symmetric=False,
)
def dare_linear(
    base: Array,
    tuned: Tuned,
    *,
    context: TensorContext,
    alpha: float = 0.25,
    density: Share = 0.1,
    rescale: Rescale = "expected",
    weights: Weights = None,
) -> Array:
    """Drop entries of the task vectors at random, rescale the rest, average.

    Args:
        density: probability that an entry is kept (1 − drop rate).
        rescale: see `drop`.
    """
    vectors = _dropped(base, tuned, context, density, rescale)
    vector = average(vectors, weights)
    return move(base, vector, alpha)


@merge_method(
    "dare_ties",
    title="DARE with TIES",
    paper="Yu et al. 2024 (arXiv 2311.03099); Yadav et al. 2023 (arXiv 2306.01708)",
    formula="θ̂ = θ0 + alpha · disjoint mean over i of mask_i · (θ'_i − θ0) / density with the "
    "elected sign",
    symmetric=False,
)
def dare_ties(
    base: Array,
    tuned: Tuned,
    *,
    context: TensorContext,
    alpha: float = 0.25,
    density: Share = 0.1,
    rescale: Rescale = "expected",
    normalize: bool = True,
    weights: Weights = None,
) -> Array:
    """Drop entries of the task vectors at random, then elect signs as TIES does.

    Args:
        density: probability that an entry is kept (1 − drop rate).
        rescale: see `drop`.
        normalize: see `ties`.
        weights: of the tuned encoders, 1 if not given.
    """
    vectors = _dropped(base, tuned, context, density, rescale)
    vector = elect(vectors, weights, normalize=normalize)
    return move(base, vector, alpha)


@merge_method(
    "breadcrumbs",
    title="Model Breadcrumbs",
    paper="Davari and Belilovsky 2024 (arXiv 2312.06795)",
    formula="θ̂ = θ0 + alpha · Σ_i (θ'_i − θ0) without its largest and smallest entries",
)
def breadcrumbs(
    base: Array,
    tuned: Tuned,
    *,
    alpha: float = 0.25,
    density: Share = 0.14,
    gamma: Share = 0.01,
    weights: Weights = None,
) -> Array:
    """Drop the largest changes as outliers and the smallest as noise, add the rest.

    Args:
        density: fraction of each task vector that is kept.
        gamma: fraction that is dropped from the top; the rest is dropped from the bottom.
        weights: of the tuned encoders, 1 if not given.
    """
    vectors = [keep_middle(vector, density, gamma) for vector in task_vectors(base, tuned)]
    vector = add_all(scaled(vectors, weights))
    return move(base, vector, alpha)


def keep_largest(vector: Array, density: float) -> Array:
    """Keep the fraction of entries with the largest magnitudes (at least one), zero the others."""
    kept = max(1, int(density * vector.size)) if density > 0 else 0
    return _keep_ranks(vector, vector.size - kept, vector.size)


def keep_middle(vector: Array, density: float, gamma: float) -> Array:
    """Keep a fraction `density` of the entries, those below the `gamma` largest magnitudes.

    Where both fractions do not fit, less is cut off the top.
    """
    kept, top = int(density * vector.size), int(gamma * vector.size)
    bottom = max(0, vector.size - kept - top)
    return _keep_ranks(vector, bottom, min(bottom + kept, vector.size))


def drop(vector: Array, mask: Array, density: float, rescale: Rescale) -> Array:
    """Zero what the mask does not keep, and rescale what is kept.

    Args:
        vector: task vector.
        mask: True where an entry is kept.
        density: the probability with which the mask was drawn.
        rescale: "expected" divides by the density, so that the expectation is the task vector (the
            paper); "norm" restores the sum of magnitudes (as mergekit does); "none" neither.
    """
    kept: Array = np.where(mask, vector, vector.dtype.type(0))
    if rescale == "expected" and density > 0:
        return scaled([kept], (1 / density,))[0]
    if rescale == "norm":
        before = float(np.abs(vector).sum(dtype=np.float64))
        after = float(np.abs(kept).sum(dtype=np.float64))
        if min(before, after) >= 1e-7:
            return scaled([kept], (before / after,))[0]
    return kept


def _dropped(
    base: Array, tuned: Tuned, context: TensorContext, density: float, rescale: Rescale
) -> list[Array]:
    """Give the task vectors without what is dropped at random."""
    masks = [draw_mask(context, place, base.shape, density) for place in range(len(tuned))]
    pairs = zip(task_vectors(base, tuned), masks, strict=True)
    return [drop(vector, mask, density, rescale) for vector, mask in pairs]


def draw_mask(context: TensorContext, place: int, shape: tuple[int, ...], density: float) -> Array:
    """Draw which entries of the task vector of encoder number `place` are kept."""
    mask: Array = (
        context.generator("dare", context.first + place).random(shape, dtype=np.float32) < density
    )
    return mask


def elect(vectors: Sequence[Array], weights: Weights, *, normalize: bool) -> Array:
    """Elect the sign of the sum for each entry; average (or add) the vectors that have it."""
    factors = weights or (1.0,) * len(vectors)
    parts = scaled(vectors, weights)
    positive = add_all(parts) >= 0
    total = np.zeros_like(parts[0])
    share = np.zeros_like(parts[0])
    for part, factor in zip(parts, factors, strict=True):
        agrees = np.where(positive, part > 0, part < 0)
        total += np.where(agrees, part, 0)
        share += agrees * share.dtype.type(factor)
    if normalize:
        total /= np.where(share == 0, share.dtype.type(1), share)
    return total


def _keep_ranks(vector: Array, low: int, high: int) -> Array:
    """Keep the entries whose rank by magnitude lies in [low, high), equal ones ranked by place."""
    if low <= 0 and high >= vector.size:
        return vector
    sizes = np.abs(vector).reshape(-1)
    mask = _from_rank(sizes, low) & ~_from_rank(sizes, high)
    kept: Array = np.where(mask.reshape(vector.shape), vector, vector.dtype.type(0))
    return kept


def _from_rank(sizes: Array, rank: int) -> Array:
    """Mark the entries of rank `rank` and more, by partition: sorting takes eight times as long."""
    if rank <= 0 or rank >= sizes.size:
        return np.full(sizes.size, rank <= 0)
    threshold = np.partition(sizes, rank)[rank]
    mask: Array = sizes > threshold
    equal = np.flatnonzero(sizes == threshold)
    missing = sizes.size - rank - int(np.count_nonzero(mask))
    mask[equal[len(equal) - missing :]] = True
    return mask
