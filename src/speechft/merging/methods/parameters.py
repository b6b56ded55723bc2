"""Parameters of merge methods as users give them, checked against the functions' signatures."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean

if TYPE_CHECKING:
    from speechft.merging.methods.base import Method


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


def check_parameters(method: Method, values: Mapping[str, Any], tuned: int) -> dict[str, Any]:
    """Check parameters against a method's signature.

    Args:
        method: the method.
        values: as the user gave them, also as texts.
        tuned: number of encoders that it merges at once.

    Raises:
        SettingsError: lists every unknown and every mistyped parameter.
    """
    problems = []
    hints = typing.get_type_hints(method.function, include_extras=True)
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key not in method.parameters:
            problems.append(f"{key}: unknown; {did_you_mean(key, method.parameters)}")
            continue
        hint, *bounds = _parts(hints[key])
        try:
            result[key] = _convert(value, hint)
        except (TypeError, ValueError):
            problems.append(f"{key}: expected {_type_name(hint)}, found {value!r}")
            continue
        wrong = [one for one in bounds if not one.holds(result[key])]
        problems += [f"{key}: expected {one}, found {value!r}" for one in wrong]
    weights = result.get("weights")
    if weights is not None and len(weights) != tuned:
        problems.append(f"weights: {len(weights)} numbers for {tuned} tuned encoders")
    if problems:
        text = "\n".join(f"    {problem}" for problem in problems)
        raise SettingsError(f"parameters of {method.name} are wrong:\n{text}", where="method")
    return result


def _parts(hint: Any) -> list[Any]:
    """Give a parameter's type, and the bounds that it is annotated with."""
    return list(typing.get_args(hint)) if typing.get_origin(hint) is Annotated else [hint]


def _convert(value: Any, kind: Any) -> Any:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        if value not in options:
            raise ValueError(value)
        return value
    if type(None) in options:
        inner = next(option for option in options if option is not type(None))
        return None if value is None or value == "none" else _convert(value, inner)
    if typing.get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        parts = parts if isinstance(parts, Iterable) else (parts,)
        return tuple(_convert(part, float) for part in parts)
    if kind is bool:
        if value in (True, False, "true", "false"):
            return value in (True, "true")
        raise ValueError(value)
    if kind in (int, float) and not isinstance(value, bool):
        number = float(value)
        if not math.isfinite(number) or (kind is int and number != int(number)):
            raise ValueError(value)
        return kind(number)
    raise TypeError(value)


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(str(option) for option in typing.get_args(kind))
    return (
        getattr(kind, "__name__", str(kind)) if not typing.get_args(kind) else "numbers, as 1,0.5"
    )
