"""Methods that use data: statistics gathered with each tuned encoder say which weights matter."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from speechft.merging.methods.base import (
    Statistics,
    Tuned,
    add_all,
    average,
    merge_method,
    move,
    task_vectors,
)
from speechft.merging.methods.parameters import Share, Within
from speechft.merging.tensorfile import Array


@merge_method(
    "regmean",
    title="RegMean",
    paper="Jin et al. 2023 (arXiv 2212.09849)",
    formula="θ̂ = θ0 + alpha · (Σ_i (θ'_i − θ0) G_i) (Σ_i G_i)⁻¹ for linear layers, G_i the Gram "
    "matrix of their inputs; else the mean",
    statistics="gram",
    single_blas=True,
)
def regmean(
    base: Array,
    tuned: Tuned,
    *,
    statistics: Statistics,
    alpha: float = 1.0,
    off_diagonal: Share = 0.9,
) -> Array:
    """Merge linear layers so that their outputs stay closest to each tuned encoder's.

    Args:
        statistics: G_i (in, in), inputs' inner products; None where there are none.
        off_diagonal: factor of the Gram matrices' off-diagonal entries, below 1 for stability.
    """
    vectors = task_vectors(base, tuned)
    width = base.shape[-1] if base.ndim == 2 else 0
    grams = [g for g in statistics if g is not None and g.shape == (width, width)]
    if len(grams) < len(vectors):
        vector = average(vectors)
    else:
        soft = np.full((width, width), off_diagonal)
        np.fill_diagonal(soft, 1.0)
        scaled = [gram.astype(np.float64) * soft for gram in grams]
        pulled = [
            vector.astype(np.float64) @ gram for vector, gram in zip(vectors, scaled, strict=True)
        ]
        total = add_all(scaled)
        vector = _divide(add_all(pulled), total).astype(base.dtype)
    return move(base, vector, alpha)


@merge_method(
    "fisher",
    title="Fisher-weighted averaging",
    paper="Matena and Raffel 2022 (arXiv 2111.09832)",
    formula="θ̂ = θ0 + alpha · Σ_i F_i (θ'_i − θ0) / Σ_i F_i, F_i the diagonal Fisher information",
    statistics="fisher",
)
def fisher(
    base: Array,
    tuned: Tuned,
    *,
    statistics: Statistics,
    alpha: float = 1.0,
    floor: Annotated[float, Within(0, above=True)] = 1e-12,
) -> Array:
    """Average the tuned encoders, each weight by how much its encoder's task depends on it.

    Args:
        statistics: F_i, shaped like `base`; None where there are none.
        floor: added to each F_i, so that weights no task depends on get the mean.
    """
    vectors = task_vectors(base, tuned)
    known = [f for f in statistics if f is not None and f.shape == base.shape]
    if len(known) < len(vectors):
        vector = average(vectors)
    else:
        shares = [np.maximum(f.astype(np.float64), 0) + floor for f in known]
        weighted = [vector * share for vector, share in zip(vectors, shares, strict=True)]
        total = add_all(weighted) / add_all(shares)
        vector = total.astype(base.dtype)
    return move(base, vector, alpha)


def _divide(pulled: Array, total: Array) -> Array:
    """Solve X total = pulled for X; the least-squares solution where `total` is singular."""
    result: Array
    try:
        result = np.linalg.solve(total.T, pulled.T).T
    except np.linalg.LinAlgError:
        result = np.linalg.lstsq(total.T, pulled.T, rcond=None)[0].T
    return result
