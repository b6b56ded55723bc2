"""What a merge method is, their registry, and those that treat every weight by itself.

A method is a pure function `(base, tuned, *, parameters) -> merged`. What the parameters mean that
many of them have:

- base: θ0, any shape.
- tuned: θ'_i, shaped like `base`.
- context: a `TensorContext`, for the tensor's depth or random masks.
- statistics: one array per tuned encoder, or None where there is none for this tensor.
- alpha: how far to go from BASE; scale of the merged task vector.
- weights: one for each tuned encoder, used as they are; without them each counts as 1/N where the
  formula has a mean, as 1 where it has a sum.

The docstring of a function describes its further parameters, and where one of these differs.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechft.core.errors import SettingsError
from speechft.core.registry import Registry
from speechft.merging.methods.parameters import check_parameters
from speechft.merging.tensorfile import Array

Function = Callable[..., Array]
Tuned = Sequence[Array]
Weights = tuple[float, ...] | None
Statistics = Sequence[Array | None]
_NOT_PARAMETERS = ("base", "tuned", "context", "statistics")


@dataclass(frozen=True)
class TensorContext:
    """What a method may know of a tensor besides its values.

    Args:
        name: canonical name.
        depth: 0 before and in the first layer, 1 in the last one.
        seed: of the merge, for methods that draw random masks.
        first: place of the first tuned encoder among all of the merge (rounds of a sequential
            merge see one encoder at a time).
    """

    name: str = ""
    depth: float = 0.0
    seed: int = 0
    first: int = 0

    def generator(self, *names: object) -> np.random.Generator:
        """Give a random stream that depends on the seed, the tensor's name and `names` only."""
        text = "/".join([str(self.seed), self.name, *(str(name) for name in names)])
        return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


@dataclass(frozen=True)
class Method:
    """A merge method.

    Args:
        name: as in `--method`.
        title: what it is called in papers.
        paper: authors, year, where.
        function: `(base, tuned, *, parameters) -> merged`, all arrays of one shape.
        formula: in plain text, for the model card.
        parameters: what a user may set, from the function's signature.
        default_alpha: the alpha in the function's signature (1 for methods without one).
        wants_context: whether the function asks for a `TensorContext`.
        elementwise: whether it may be applied to parts of a tensor.
        symmetric: whether the order of the tuned encoders cannot matter.
        least: smallest number of tuned encoders.
        most: largest number of tuned encoders, or None.
        base_at_zero: whether alpha = 0 gives BASE back.
        tuned_at_one: whether alpha = 1 with one tuned encoder gives it back.
        statistics: what data it needs per tuned encoder ("gram", "fisher"), or "".
        single_blas: whether it must run on one BLAS thread to give the same bits everywhere.
        revision: raised when it gives another result; earlier merges are not done then.
    """

    name: str
    title: str
    paper: str
    function: Function
    formula: str
    parameters: Mapping[str, inspect.Parameter]
    default_alpha: float
    wants_context: bool
    elementwise: bool = False
    symmetric: bool = True
    least: int = 1
    most: int | None = None
    base_at_zero: bool = True
    tuned_at_one: bool = False
    statistics: str = ""
    single_blas: bool = False
    revision: int = 1

    @property
    def help(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").split("\n", 1)[0]

    def check(self, values: Mapping[str, Any], tuned: int) -> dict[str, Any]:
        """Check the number of tuned encoders, and parameters against the signature.

        Raises:
            SettingsError: lists every unknown and every mistyped parameter.
        """
        if tuned < self.least or (self.most is not None and tuned > self.most):
            few = tuned < self.least
            raise SettingsError(
                f"{self.name} cannot merge {tuned} tuned encoder{'s' if tuned > 1 else ''}",
                where="method",
                expected=f"at least {self.least}" if few else f"at most {self.most}",
                hint=None if few else f"for several: {', '.join(_for(tuned))}",
            )
        return check_parameters(self, values, tuned) if values else {}


METHODS: Registry[Method] = Registry("merge method")


def _for(tuned: int) -> list[str]:
    """Name the methods that merge so many tuned encoders."""
    return [m.name for m in METHODS.values() if m.least <= tuned <= (m.most or tuned)]


def merge_method(
    name: str, *, title: str, paper: str, formula: str, **traits: Any
) -> Callable[[Function], Function]:
    """Register a function as a merge method; traits are the fields of `Method`."""

    def add(function: Function) -> Function:
        given = inspect.signature(function).parameters
        parameters = {key: one for key, one in given.items() if key not in _NOT_PARAMETERS}
        alpha = float(given["alpha"].default) if "alpha" in given else 1.0
        shape = (function, formula, parameters, alpha, "context" in given)
        METHODS.register(name)(Method(name, title, paper, *shape, **traits))
        return function

    return add


def add_all(vectors: Sequence[Array]) -> Array:
    """Add arrays of one shape."""
    total: Array = functools.reduce(np.add, vectors)
    return total


def move(base: Array, vector: Array, alpha: float) -> Array:
    """Give base + alpha · vector, in the arrays' own precision."""
    result: Array = base + vector * vector.dtype.type(alpha)
    return result


def average(vectors: Sequence[Array], weights: Weights = None) -> Array:
    """Give the weighted sum if weights are given, else the mean."""
    total = add_all(scaled(vectors, weights))
    return total if weights is not None else total / total.dtype.type(len(vectors))


def scaled(vectors: Sequence[Array], weights: Weights) -> list[Array]:
    """Multiply each vector with its weight, in the vectors' own precision."""
    if weights is None:
        return list(vectors)
    return [vector * vector.dtype.type(w) for vector, w in zip(vectors, weights, strict=True)]


def task_vectors(base: Array, tuned: Tuned) -> list[Array]:
    """Give θ' − θ0 for every tuned encoder."""
    return [one - base for one in tuned]


@merge_method(
    "linear",
    title="Linear interpolation (Speech-FT, WiSE-FT)",
    paper="Lin et al. 2026 (arXiv 2502.12672); Wortsman et al. 2022 (arXiv 2109.01903)",
    formula="θ̂ = θ0 + alpha · mean_i(θ'_i − θ0)",
    elementwise=True,
    tuned_at_one=True,
)
def linear(base: Array, tuned: Tuned, *, alpha: float = 0.25, weights: Weights = None) -> Array:
    """Move from BASE towards the mean of the tuned encoders."""
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
    base: Array, tuned: Tuned, *, alpha: float = 0.25, weights: Weights = None
) -> Array:
    """Add the sum of the task vectors; a negative alpha takes what was learnt away.

    Args:
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
def soup(base: Array, tuned: Tuned, *, include_base: bool = False) -> Array:
    """Average the tuned encoders, and BASE too if asked for.

    Args:
        include_base: count θ0 as one more member of the soup.
    """
    return linear(base, tuned, alpha=len(tuned) / (len(tuned) + 1) if include_base else 1.0)


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
    tuned: Tuned,
    *,
    context: TensorContext,
    alpha: float = 0.25,
    beta: float = 0.25,
    weights: Weights = None,
) -> Array:
    """Scale the task vector the more, the deeper the layer: shallow layers forget, deep ones learn.

    Args:
        alpha: scale in the first layer and before it.
        beta: what the last layer's scale has more.
    """
    return linear(base, tuned, alpha=alpha + beta * context.depth, weights=weights)
