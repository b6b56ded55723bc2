"""Methods that treat every weight by itself."""

from __future__ import annotations

from collections.abc import Sequence

from speechft.merging.dtypes import Array
from speechft.merging.methods.registry import average, merge_method, task_vectors


@merge_method(
    "linear",
    title="Linear interpolation (Speech-FT, WiSE-FT)",
    paper="Lin et al. 2026 (arXiv 2502.12672); Wortsman et al. 2022 (arXiv 2109.01903)",
    formula="θ̂ = θ0 + alpha · mean_i(θ'_i − θ0)",
    elementwise=True,
    tuned_at_one=True,
)
def linear(
    base: Array,
    tuned: Sequence[Array],
    *,
    alpha: float = 0.25,
    weights: tuple[float, ...] | None = None,
) -> Array:
    """Move from BASE towards the mean of the tuned encoders.

    Args:
        base: θ0, any shape.
        tuned: θ'_i, shaped like `base`.
        alpha: 0 gives BASE, 1 the mean of the tuned encoders.
        weights: of the tuned encoders instead of 1/N; they are used as they are.
    """
    if alpha == 0:
        return base.copy()
    if alpha == 1 and len(tuned) == 1 and weights is None:
        return tuned[0].copy()
    if len(tuned) == 1:
        vector = tuned[0] - base
        if weights is not None:
            vector *= vector.dtype.type(weights[0])
    else:
        vector = average(task_vectors(base, tuned), weights)
    vector *= vector.dtype.type(alpha)
    vector += base
    return vector
