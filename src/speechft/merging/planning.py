"""What a merge is to do: its recipe, and the plan for encoders that fit together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from speechft.core.errors import SettingsError
from speechft.merging.alpha import AlphaRules, constant, depth_of
from speechft.merging.dtypes import BY_USER_NAME, USER_NAMES, is_float
from speechft.merging.matching import Entry, Match, match
from speechft.merging.methods import METHODS, Method
from speechft.merging.sources import Source
from speechft.merging.statistics import line_up
from speechft.merging.tensorfile import TensorInfo
from speechft.merging.weightnorm import pairs


@dataclass(frozen=True)
class Recipe:
    """How to merge.

    Args:
        method: name in `METHODS`.
        alpha: for each tensor; None for the method's own default.
        parameters: further parameters of the method.
        sequential: merge one tuned encoder after the other, each round's result is the next BASE.
        weight_norm: "stored" merges g and v by themselves, "fused" the effective kernel.
        heads: "drop" BASE's heads, or "keep" them unmerged.
        dtype: type of the result ("float32", "float16", "bfloat16"); None for BASE's.
        seed: of random masks.
    """

    method: str = "linear"
    alpha: AlphaRules | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sequential: bool = False
    weight_norm: str = "stored"
    heads: str = "drop"
    dtype: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A merge whose inputs fit together, ready to be computed tensor by tensor.

    Args:
        base: θ0.
        tuned: θ'_i.
        recipe: how to merge, with alpha filled in.
        method: the method.
        match: the tensors of the result.
        outputs: name, type and shape of the result's tensors, in stored order.
        statistics: per tuned encoder, tensors of statistics.
        statistics_names: for each of them, canonical name → stored name.
    """

    base: Source
    tuned: tuple[Source, ...]
    recipe: Recipe
    method: Method
    match: Match
    outputs: tuple[TensorInfo, ...]
    statistics: tuple[Source, ...] = ()
    statistics_names: tuple[Mapping[str, str], ...] = ()

    @property
    def alpha(self) -> AlphaRules:
        """Alpha of every tensor."""
        return self.recipe.alpha or constant(self.method.default_alpha)

    @property
    def sources(self) -> list[Source]:
        """BASE, every TUNED and every file of statistics."""
        return [self.base, *self.tuned, *self.statistics]

    @property
    def dtype(self) -> str:
        """The type of the result's numbers ("float32"), or all of them."""
        found = {USER_NAMES[info.dtype] for info in self.outputs if is_float(info.dtype)}
        return " and ".join(sorted(found))

    @property
    def nbytes(self) -> int:
        """Bytes of the result."""
        return sum(info.nbytes for info in self.outputs)

    def alpha_of(self, entry: Entry) -> float:
        """Give alpha of one tensor; both parts of a fused kernel have that of `v`."""
        return self.alpha.at(self.unit_of(entry), self.depth_of(entry))

    def unit_of(self, entry: Entry) -> str:
        """Give the name of what is merged: both parts of a fused kernel are merged as one, `v`."""
        pair = fused_names(self).get(entry.name)
        return pair[1] if pair else entry.name

    def depth_of(self, entry: Entry) -> float:
        """Give the depth of one tensor in [0, 1]."""
        last = bool((self.base.config or {}).get("do_stable_layer_norm"))
        return depth_of(entry.name, self.match.layers, norm_is_last=last)


def plan(
    base: Source, tuned: Sequence[Source], recipe: Recipe, statistics: Sequence[Source] = ()
) -> Plan:
    """Check that encoders and settings fit together.

    Raises:
        IncompatibleModelsError: the encoders do not have the same tensors.
        SettingsError: the method, its parameters, alpha or the type are wrong.
    """
    method = METHODS[recipe.method]
    per_round = 1 if recipe.sequential else len(tuned)
    parameters = method.check({k: v for k, v in recipe.parameters.items()}, per_round)
    if recipe.alpha is not None and "alpha" not in method.parameters:
        raise SettingsError(f"{method.name} has no alpha", where="alpha", found=recipe.alpha)
    if recipe.dtype is not None and recipe.dtype not in BY_USER_NAME:
        raise SettingsError(
            "unknown type", where="dtype", expected=", ".join(BY_USER_NAME), found=recipe.dtype
        )
    matched = match(base, tuned, heads=recipe.heads)
    statistics_names = line_up(method, matched, statistics, len(tuned))
    if recipe.alpha is not None:
        recipe.alpha.check([entry.name for entry in matched.entries if entry.tuned])
    wanted = BY_USER_NAME[recipe.dtype] if recipe.dtype else None
    outputs = tuple(
        TensorInfo(
            e.out_name,
            (wanted or e.base.dtype) if is_float(e.base.dtype) else e.base.dtype,
            e.base.shape,
        )
        for e in matched.entries
    )
    return Plan(
        base=base,
        tuned=tuple(tuned),
        recipe=replace(recipe, parameters=parameters),
        method=method,
        match=matched,
        outputs=outputs,
        statistics=tuple(statistics),
        statistics_names=statistics_names,
    )


def fused_names(plan: Plan) -> dict[str, tuple[str, str]]:
    """Give the (g, v) whose effective kernel is merged, by either name; none if both are merged."""
    if plan.recipe.weight_norm != "fused":
        return {}
    return pairs({entry.name: entry for entry in plan.match.entries if entry.tuned})
