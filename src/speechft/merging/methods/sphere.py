"""Methods that go by angles: SLERP, multi-SLERP, Karcher mean on great circles; Model Stock.

A tensor is one vector. SLERP weighs the two vectors as they are; multi-SLERP and the Karcher mean
interpolate directions on the unit sphere and norms linearly. For equal norms they agree.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from speechft.core.errors import SettingsError
from speechft.merging.methods.base import (
    Tuned,
    Weights,
    add_all,
    average,
    linear,
    merge_method,
    move,
    task_vectors,
)
from speechft.merging.methods.parameters import Share, Within
from speechft.merging.tensorfile import Array

EPS = 1e-8


@merge_method(
    "slerp",
    title="SLERP, spherical linear interpolation",
    paper="Shoemake 1985 (SIGGRAPH)",
    formula="θ̂ = sin((1−alpha)Ω)/sin Ω · θ0 + sin(alpha Ω)/sin Ω · θ', Ω the angle between them",
    most=1,
    tuned_at_one=True,
)
def slerp(
    base: Array, tuned: Tuned, *, alpha: float = 0.25, dot_threshold: Share = 0.9995
) -> Array:
    """Turn each tensor from BASE towards TUNED along the great circle.

    Args:
        dot_threshold: tensors whose directions have a larger cosine (or a smaller than its
            negative) are interpolated linearly; also where one of them is zero.
    """
    norms = [_norm(base), _norm(tuned[0])]
    if min(norms) <= EPS:
        return linear(base, tuned, alpha=alpha)
    cosine = _dot(base, tuned[0]) / norms[0] / norms[1]
    if abs(cosine) > min(dot_threshold, 1 - 1e-12):
        return linear(base, tuned, alpha=alpha)
    angle = math.acos(cosine)
    kind = base.dtype.type
    first = kind(math.sin((1 - alpha) * angle) / math.sin(angle))
    second = kind(math.sin(alpha * angle) / math.sin(angle))
    merged: Array = first * base + second * tuned[0]
    return merged


@merge_method(
    "multislerp",
    title="Multi-SLERP, barycentre on the sphere",
    paper="Buss and Fillmore 2001 (ACM TOG 20:2), one step from the normalised mean",
    formula="θ̂ = exp_m(Σ_i w_i log_m(θ_i)), weights 1−alpha for θ0 and alpha/N for each θ'_i",
    tuned_at_one=True,
)
def multislerp(base: Array, tuned: Tuned, *, alpha: float = 0.25, weights: Weights = None) -> Array:
    """Interpolate several tensors on the sphere; of two with equal norms it is SLERP.

    Args:
        alpha: share of the tuned encoders together.
        weights: of the tuned encoders among each other; they are made to sum to 1.
    """
    return _barycentre(base, tuned, alpha, weights, steps=1, tolerance=0.0)


@merge_method(
    "karcher",
    title="Karcher (Riemannian) mean on the sphere",
    paper="Karcher 1977; Buss and Fillmore 2001 (ACM TOG 20:2)",
    formula="θ̂ = argmin over the sphere of Σ_i w_i angle(θ, θ_i)², weights 1−alpha for θ0 and "
    "alpha/N for each θ'_i",
    tuned_at_one=True,
)
def karcher(
    base: Array,
    tuned: Tuned,
    *,
    alpha: float = 1.0,
    max_steps: Annotated[int, Within(1)] = 50,
    tolerance: Annotated[float, Within(0)] = 1e-9,
    weights: Weights = None,
) -> Array:
    """Find the point of the sphere whose weighted squared angles to all encoders are least.

    Args:
        alpha: share of the tuned encoders together; 1 leaves θ0 out.
        max_steps: most steps of the fixed-point iteration.
        tolerance: angle in radians below which a step ends it.
        weights: of the tuned encoders among each other; they are made to sum to 1.
    """
    return _barycentre(base, tuned, alpha, weights, steps=max_steps, tolerance=tolerance)


@merge_method(
    "model_stock",
    title="Model Stock",
    paper="Jang et al. 2024 (arXiv 2403.19522)",
    formula="θ̂ = θ0 + t · mean_i(θ'_i − θ0), t = N cos / (1 + (N−1) cos), cos the mean cosine "
    "between task vectors",
    least=2,
    base_at_zero=False,
)
def model_stock(base: Array, tuned: Tuned, *, filter_wise: bool = False) -> Array:
    """Choose alpha for each tensor from the angles between the task vectors.

    Args:
        tuned: two or more θ'_i fine-tuned on the same task, shaped like `base`.
        filter_wise: one alpha per row of a matrix instead of one per tensor.
    """
    vectors = task_vectors(base, tuned)
    height = base.shape[0] if filter_wise and base.ndim > 1 else 1
    rows = [vector.reshape(height, -1) for vector in vectors]
    cosines = []
    for place, left in enumerate(rows):
        for right in rows[place + 1 :]:
            product = np.multiply(left, right, dtype=np.float64).sum(axis=1)
            norms = _norms(left) * _norms(right)
            cosines.append(np.clip(product / np.where(norms == 0, 1, norms), -1, 1))
    cosine = add_all(cosines) / len(cosines)
    count = len(tuned)
    below = 1 + (count - 1) * cosine
    singular = np.abs(below) < 1e-6
    ratio = np.where(singular, 0, count * cosine / np.where(singular, 1, below))
    mean = average(rows)
    vector: Array = mean * ratio[:, None].astype(mean.dtype)
    return move(base, vector.reshape(base.shape), 1.0)


def _barycentre(
    base: Array, tuned: Tuned, alpha: float, weights: Weights, *, steps: int, tolerance: float
) -> Array:
    """Weighted mean on the sphere by tangent steps from the normalised mean; norms linearly."""
    given = weights or (1.0,) * len(tuned)
    total = sum(given)
    if abs(total) < EPS:
        raise SettingsError("weights that sum to 0 have no mean", where="weights", found=weights)
    shares = (1 - alpha, *(alpha * w / total for w in given))
    pairs = zip(shares, (base, *tuned), strict=True)
    points = [(share, point) for share, point in pairs if share != 0]
    lengths = [_norm(point) for _, point in points]
    scale = sum(share * length for (share, _), length in zip(points, lengths, strict=True))
    known = [
        (share, point.astype(np.float64) / length)
        for (share, point), length in zip(points, lengths, strict=True)
        if length > EPS
    ]
    weight = sum(share for share, _ in known)
    if abs(weight) < EPS:
        return linear(base, tuned, alpha=alpha, weights=tuple(w / total for w in given))
    known = [(share / weight, unit) for share, unit in known]
    mean = add_all([share * unit for share, unit in known])
    length = _norm(mean)
    if length < EPS:
        return linear(base, tuned, alpha=alpha, weights=tuple(w / total for w in given))
    mean = mean / length
    for _ in range(steps):
        tangent = add_all([share * _log(mean, unit) for share, unit in known])
        angle = _norm(tangent)
        if angle <= tolerance:
            break
        mean = math.cos(angle) * mean + math.sin(angle) / angle * tangent
        mean = mean / _norm(mean)
    result: Array = (scale * mean).astype(base.dtype)
    return result


def _log(mean: Array, unit: Array) -> Array:
    """Give the tangent vector at `mean` that leads to `unit`."""
    cosine = min(1.0, max(-1.0, _dot(mean, unit)))
    away = unit - cosine * mean
    sine = _norm(away)
    return away * (math.atan2(sine, cosine) / sine) if sine > 1e-15 else away


def _dot(left: Array, right: Array) -> float:
    return float(np.multiply(left, right, dtype=np.float64).sum())


def _norm(values: Array) -> float:
    return math.sqrt(_dot(values, values))


def _norms(rows: Array) -> Array:
    norms: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
    return norms
