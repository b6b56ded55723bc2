"""The registry of merge methods; parameters and help come from the functions' signatures."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.core.registry import Registry
from speechft.merging.dtypes import Array

Function = Callable[..., Array]
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
class Within:
    """Bounds of a number, written in a parameter's type: `Annotated[float, Within(0, 1)]`.

    Args:
        low: smallest value.
        high: largest value.
        above: whether `low` itself is excluded.
    """

    low: float = 0.0
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a value lies within."""
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        low = f"{'above' if self.above else 'at least'} {self.low:g}"
        return low if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"


#: A part of a whole.
Share = Annotated[float, Within(0, 1)]


@dataclass(frozen=True)
class Method:
    """A merge method.

    Args:
        name: as in `--method`.
        title: what it is called in papers.
        paper: authors, year, where.
        function: `(base, tuned, *, parameters) -> merged`, all arrays of one shape.
        formula: in plain text, for the model card.
        elementwise: whether it may be applied to parts of a tensor.
        symmetric: whether the order of the tuned encoders cannot matter.
        least: smallest number of tuned encoders.
        most: largest number of tuned encoders, or None.
        base_at_zero: whether alpha = 0 gives BASE back.
        tuned_at_one: whether alpha = 1 with one tuned encoder gives it back.
        statistics: what data it needs per tuned encoder ("gram", "fisher"), or "".
        single_blas: whether it must run on one BLAS thread to give the same bits everywhere.
        parameters: what a user may set, from the function's signature.
    """

    name: str
    title: str
    paper: str
    function: Function
    formula: str
    elementwise: bool = False
    symmetric: bool = True
    least: int = 1
    most: int | None = None
    base_at_zero: bool = True
    tuned_at_one: bool = False
    statistics: str = ""
    single_blas: bool = False
    parameters: Mapping[str, inspect.Parameter] = field(default_factory=dict)

    @property
    def help(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").split("\n", 1)[0]

    @property
    def default_alpha(self) -> float:
        """The alpha in the function's signature (1 for methods without one)."""
        found = self.parameters.get("alpha")
        return float(found.default) if found else 1.0

    @property
    def wants_context(self) -> bool:
        """Whether the function asks for a `TensorContext`."""
        return "context" in inspect.signature(self.function).parameters

    def check(self, values: Mapping[str, Any], tuned: int) -> dict[str, Any]:
        """Check parameters against the signature, and the number of tuned encoders.

        Raises:
            SettingsError: lists every unknown and every mistyped parameter.
        """
        if tuned < self.least or (self.most is not None and tuned > self.most):
            few = "at least" if tuned < self.least else "at most"
            number = self.least if tuned < self.least else self.most
            raise SettingsError(
                f"{self.name} cannot merge {tuned} tuned encoder{'s' if tuned > 1 else ''}",
                where="method",
                expected=f"{few} {number}",
            )
        problems = []
        hints = typing.get_type_hints(self.function)
        result: dict[str, Any] = {}
        for key, value in values.items():
            if key not in self.parameters:
                problems.append(f"{key}: unknown; {did_you_mean(key, self.parameters)}")
                continue
            try:
                result[key] = _convert(value, hints[key])
            except (TypeError, ValueError):
                problems.append(f"{key}: expected {_type_name(hints[key])}, found {value!r}")
                continue
            bounds = _bounds(self.function, key)
            if bounds is not None and not bounds.holds(result[key]):
                problems.append(f"{key}: expected {bounds}, found {value!r}")
        weights = result.get("weights")
        if weights is not None and len(weights) != tuned:
            problems.append(f"weights: {len(weights)} numbers for {tuned} tuned encoders")
        if problems:
            text = "\n".join(f"    {problem}" for problem in problems)
            raise SettingsError(f"parameters of {self.name} are wrong:\n{text}", where="method")
        return result


METHODS: Registry[Method] = Registry("merge method")


def merge_method(
    name: str, *, title: str, paper: str, formula: str, **traits: Any
) -> Callable[[Function], Function]:
    """Register a function as a merge method; traits are the fields of `Method`."""

    def add(function: Function) -> Function:
        parameters = {
            key: parameter
            for key, parameter in inspect.signature(function).parameters.items()
            if key not in _NOT_PARAMETERS
        }
        method = Method(
            name=name,
            title=title,
            paper=paper,
            formula=formula,
            function=function,
            parameters=parameters,
            **traits,
        )
        METHODS.register(name)(method)
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


def average(vectors: Sequence[Array], weights: Sequence[float] | None = None) -> Array:
    """Give the weighted sum if weights are given, else the mean."""
    total = add_all(scaled(vectors, weights))
    return total if weights is not None else total / total.dtype.type(len(vectors))


def scaled(vectors: Sequence[Array], weights: Sequence[float] | None) -> list[Array]:
    """Multiply each vector with its weight, in the vectors' own precision."""
    if weights is None:
        return list(vectors)
    return [vector * vector.dtype.type(w) for vector, w in zip(vectors, weights, strict=True)]


def task_vectors(base: Array, tuned: Sequence[Array]) -> list[Array]:
    """Give θ' − θ0 for every tuned encoder."""
    return [one - base for one in tuned]


def _convert(value: Any, kind: Any) -> Any:
    options = typing.get_args(kind) if typing.get_origin(kind) is not None else ()
    if typing.get_origin(kind) is typing.Literal:
        if value not in options:
            raise ValueError(value)
        return value
    if type(None) in options:
        inner = next(option for option in options if option is not type(None))
        return None if value is None or value == "none" else _convert(value, inner)
    if typing.get_origin(kind) in (tuple, Sequence) or kind is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        parts = parts if isinstance(parts, Iterable) else (parts,)
        return tuple(_convert(part, float) for part in parts)
    if kind is bool:
        if value in (True, False, "true", "false"):
            return value in (True, "true")
        raise ValueError(value)
    if kind is int and float(value) != int(float(value)):
        raise ValueError(value)
    if kind in (int, float) and not isinstance(value, bool):
        number = float(value)
        if not np.isfinite(number):
            raise ValueError(value)
        return kind(number)
    raise TypeError(value)


def _bounds(function: Function, key: str) -> Within | None:
    hint = typing.get_type_hints(function, include_extras=True)[key]
    return next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Within)), None)


def _type_name(kind: Any) -> str:
    inner = [option for option in typing.get_args(kind) if option is not type(None)]
    if any(typing.get_origin(option) is tuple for option in inner):
        return "numbers, as 1,0.5"
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(str(option) for option in typing.get_args(kind))
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)
