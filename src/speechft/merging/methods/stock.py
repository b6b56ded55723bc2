"""Model Stock: how far to go from BASE follows from the angle between tuned encoders."""

from __future__ import annotations

import numpy as np

from speechft.merging.methods.base import Tuned, add_all, average, merge_method, move, task_vectors
from speechft.merging.tensorfile import Array


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


def _norms(rows: Array) -> Array:
    norms: Array = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1))
    return norms
