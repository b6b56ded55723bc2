"""Methods that treat every weight by itself."""

from __future__ import annotations

from collections.abc import Sequence

from speechft.merging.dtypes import Array
from speechft.merging.methods.registry import TensorContext, average, merge_method, task_vectors


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


@merge_method(
    "task_arithmetic",
    title="Task arithmetic",
    paper="Ilharco et al. 2023 (arXiv 2212.04089)",
    formula="θ̂ = θ0 + alpha · Σ_i w_i (θ'_i − θ0)",
    elementwise=True,
    tuned_at_one=True,
)
def task_arithmetic(
    base: Array,
    tuned: Sequence[Array],
    *,
    alpha: float = 0.25,
    weights: tuple[float, ...] | None = None,
) -> Array:
    """Add the sum of the task vectors; a negative alpha takes what was learnt away.

    Args:
        base: θ0, any shape.
        tuned: θ'_i, shaped like `base`.
        alpha: scale of the sum; negative for negation ("forgetting").
        weights: w_i, 1 if not given; negative for single encoders to be negated.
    """
    return linear(base, tuned, alpha=alpha, weights=weights or (1.0,) * len(tuned))


@merge_method(
    "soup",
    title="Uniform soup",
    paper="Wortsman et al. 2022 (arXiv 2203.05482)",
    formula="θ̂ = mean_i θ'_i",
    elementwise=True,
    base_at_zero=False,
)
def soup(base: Array, tuned: Sequence[Array], *, include_base: bool = False) -> Array:
    """Average the tuned encoders, and BASE too if asked for.

    Args:
        base: θ0, any shape.
        tuned: θ'_i, shaped like `base`.
        include_base: count θ0 as one more member of the soup.
    """
    if include_base:
        return linear(base, tuned, alpha=len(tuned) / (len(tuned) + 1))
    return linear(base, tuned, alpha=1.0)


@merge_method(
    "lines",
    title="LiNeS, layer-increasing scaling",
    paper="Wang et al. 2025 (arXiv 2410.17146)",
    formula="θ̂ = θ0 + (alpha + beta · l/(L−1)) · mean_i(θ'_i − θ0), l the layer from 0 to L−1",
    elementwise=True,
    base_at_zero=False,
)
def lines(
    base: Array,
    tuned: Sequence[Array],
    *,
    context: TensorContext,
    alpha: float = 0.25,
    beta: float = 0.25,
    weights: tuple[float, ...] | None = None,
) -> Array:
    """Scale the task vector the more, the deeper the layer: shallow layers forget, deep ones learn.

    Args:
        base: θ0, any shape.
        tuned: θ'_i, shaped like `base`.
        context: gives the tensor's depth.
        alpha: scale in the first layer and before it.
        beta: what the last layer's scale has more.
        weights: of the tuned encoders instead of 1/N.
    """
    return linear(base, tuned, alpha=alpha + beta * context.depth, weights=weights)
