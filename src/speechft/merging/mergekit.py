"""Read merge recipes in mergekit's spelling, where they mean the same here; say where they do not.

mergekit (LGPL) is not used; this reads its configuration files only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean

_TOP = frozenset(
    {"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "name"}
)
_LANGUAGE = frozenset({"tokenizer", "tokenizer_source", "chat_template"})
_HARMLESS = frozenset({"int8_mask"})
#: mergekit's method → parameters that it has per encoder and for all.
_METHODS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "linear": (frozenset({"weight"}), frozenset({"normalize"})),
    "slerp": (frozenset(), frozenset({"t"})),
    "task_arithmetic": (frozenset({"weight"}), frozenset({"normalize", "lambda"})),
    "ties": (frozenset({"weight", "density"}), frozenset({"normalize", "lambda", "rescale"})),
    "dare_linear": (
        frozenset({"weight", "density"}),
        frozenset({"normalize", "lambda", "rescale"}),
    ),
    "dare_ties": (frozenset({"weight", "density"}), frozenset({"normalize", "lambda", "rescale"})),
    "breadcrumbs": (
        frozenset({"weight", "density", "gamma"}),
        frozenset({"normalize", "lambda", "rescale"}),
    ),
    "model_stock": (frozenset(), frozenset({"filter_wise"})),
    "karcher": (frozenset(), frozenset({"max_iter", "tol"})),
}
_DIFFERENT = {
    "multislerp": "mergekit's tangent step is zero, so that it gives the normalised mean; "
    "ours is SLERP for several encoders: write --method multislerp",
    "passthrough": "encoders are not stacked from layers here",
}


@dataclass(frozen=True)
class Imported:
    """A recipe in the terms of `MergeSettings`.

    Args:
        base: θ0.
        tuned: θ'_i.
        method: name in `METHODS`.
        alpha: texts as for `--alpha`.
        parameters: of the method.
        dtype: of the result, or None.
    """

    base: str
    tuned: tuple[str, ...]
    method: str
    alpha: tuple[str, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    dtype: str | None = None


def from_mergekit(recipe: Mapping[str, Any], where: object = "recipe") -> Imported:
    """Translate a mergekit configuration.

    Args:
        recipe: the YAML's content.
        where: its file, for messages.

    Raises:
        SettingsError: lists everything that is unknown, or would mean something else here.
    """
    method = str(recipe.get("merge_method", ""))
    if method not in _METHODS:
        reason = _DIFFERENT.get(method) or did_you_mean(method, _METHODS)
        raise SettingsError(
            f"cannot take over mergekit's method {method!r}", where=where, hint=reason
        )
    reader = _Reader(recipe, method)
    reader.check()
    imported = _READERS.get(method, _Reader.read_task_vectors)(reader)
    if reader.problems:
        lines = "\n".join(f"    {problem}" for problem in reader.problems)
        raise SettingsError(f"this recipe means something else here:\n{lines}", where=where)
    return Imported(**imported, method=method, dtype=reader.dtype())


class _Reader:
    """Reads one recipe and collects everything that does not carry over."""

    def __init__(self, recipe: Mapping[str, Any], method: str) -> None:
        self.recipe = recipe
        self.method = method
        self.problems: list[str] = []
        self.shared = self._mapping(recipe.get("parameters"), "parameters")
        self.models: list[tuple[str, dict[str, Any]]] = []
        listed: Any = recipe.get("models") or []
        for entry in listed if isinstance(listed, list) else [listed]:
            known = isinstance(entry, Mapping) and isinstance(entry.get("model"), str)
            if known and not set(entry) - {"model", "parameters"}:
                own = self._mapping(entry.get("parameters"), entry["model"])
                self.models.append((entry["model"], own))
            else:
                self.problems.append(f"models: cannot read {entry!r}")
        base = recipe.get("base_model")
        self.base: str | None = base if isinstance(base, str) else None
        if base is not None and self.base is None:
            self.problems.append(f"base_model: cannot read {base!r}")

    def check(self) -> None:
        """Note unknown keys and parameters."""
        for key in self.recipe:
            if key in _LANGUAGE:
                self.problems.append(f"{key}: speech encoders have no tokenizer or template")
            elif key in ("slices", "modules"):
                self.problems.append(f"{key}: layers are not rearranged; list whole `models`")
            elif key not in _TOP:
                self.problems.append(f"{key}: unknown; {did_you_mean(str(key), _TOP)}")
        per_model, for_all = _METHODS[self.method]
        known = per_model | for_all | _HARMLESS
        for where, values in [("parameters", self.shared), *self.models]:
            allowed = known if where == "parameters" else per_model | _HARMLESS
            unknown = [key for key in values if key not in allowed]
            self.problems += [f"{where}: {self.method} has no {key!r} there" for key in unknown]
        names = [name for name, _ in self.models]
        if any("+" in name for name in names):
            self.problems.append("models: merge LoRA adapters into their encoders first")
        if len(set(names)) < len(names):
            self.problems.append("models: one is listed twice")
        if not names:
            self.problems.append("models: none")

    def dtype(self) -> str | None:
        """Give the result's type; arithmetic is always in float32 here."""
        out = self.recipe.get("out_dtype") or self.recipe.get("dtype")
        return None if out is None else str(out)

    def read_linear(self) -> dict[str, Any]:
        """Σ w_i θ_i / Σ w_i is θ0 + Σ (w_i / Σ w) (θ_i − θ0), whichever is taken as θ0."""
        weights = {name: self._number(values, "weight", name) for name, values in self.models}
        total = sum(weights.values())
        if not self._flag("normalize", True):
            if abs(total - 1) > 1e-6:
                self.problems.append(f"normalize: false with weights that sum to {total:g}, not 1")
            total = 1.0
        elif total == 0:
            self.problems.append("weight: they sum to 0")
        base = self.base if self.base in weights else next(iter(weights), "")
        if self.base is not None and self.base not in weights:
            self.problems.append("base_model: give it a weight under `models`, or leave it out")
        shares = {n: w / (total or 1.0) for n, w in weights.items() if n != base}
        if len(shares) == 1:
            return self._result(base, shares, (repr(next(iter(shares.values()))),), {})
        return self._result(base, shares, ("1.0",), {"weights": tuple(shares.values())})

    def read_slerp(self) -> dict[str, Any]:
        """`t` is alpha; lists are ramps over depth, filters are patterns."""
        tuned = self._tuned()
        if self.base is None or len(tuned) != 1:
            self.problems.append("slerp: wants base_model and one other encoder")
        return self._result(self.base or "", tuned, self._alpha(self.shared.get("t")), {})

    def read_model_stock(self) -> dict[str, Any]:
        """The encoders besides the base."""
        parameters = {"filter_wise": self._flag("filter_wise", False)}
        return self._result(self._needed_base(), self._tuned(), (), parameters)

    def read_karcher(self) -> dict[str, Any]:
        """All encoders count alike: the first is taken as θ0, with a share like the others'."""
        if self.base is not None:
            self.problems.append("base_model: karcher has none; list all encoders under `models`")
        names = [name for name, _ in self.models]
        share = (len(names) - 1) / max(len(names), 1)
        parameters = {
            "max_steps": self._constant(self.shared.get("max_iter", 10), "max_iter"),
            "tolerance": self._constant(self.shared.get("tol", 1e-5), "tol"),
        }
        return self._result(names[0] if names else "", names[1:], (repr(share),), parameters)

    def read_task_vectors(self) -> dict[str, Any]:
        """Task arithmetic, TIES, DARE, Breadcrumbs: weights, density and λ of mergekit."""
        tuned = self._tuned()
        own = {name: values for name, values in self.models if name != self.base}
        weights = tuple(self._number(own[name], "weight", name) for name in tuned)
        total = sum(weights)
        alpha = self._constant(self.shared.get("lambda", 1.0), "lambda")
        parameters: dict[str, Any] = {"weights": weights}
        per_model, for_all = _METHODS[self.method]
        for key, default in (("density", 1.0), ("gamma", 0.01)):
            if key in per_model:
                parameters[key] = self._same(own, key, default)
        elects = self.method in ("ties", "dare_ties")
        normalize = self._flag("normalize", self.method == "ties")
        if elects:
            parameters["normalize"] = normalize
        elif normalize and total != 0:
            parameters["weights"] = tuple(weight / total for weight in weights)
        if "rescale" in for_all:
            rescale = self._flag("rescale", self.method.startswith("dare"))
            if self.method.startswith("dare"):
                parameters["rescale"] = "norm" if rescale else "none"
            elif rescale:
                self.problems.append(f"rescale: {self.method} does not rescale here")
        return self._result(self._needed_base(), tuned, (repr(alpha),), parameters)

    def _result(
        self, base: str, tuned: Sequence[str] | Mapping[str, Any], alpha: Sequence[str],
        parameters: dict[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        dtype, out = self.recipe.get("dtype"), self.recipe.get("out_dtype")
        if dtype not in (None, "float32"):
            self.problems.append(
                f"dtype: {dtype} would round the encoders before they are merged; leave it out and "
                f"write out_dtype: {out or dtype}"
            )
        if not tuned:
            self.problems.append("models: nothing to merge with the base")
        return {
            "base": base,
            "tuned": tuple(tuned),
            "alpha": tuple(alpha),
            "parameters": parameters,
        }

    def _tuned(self) -> list[str]:
        return [name for name, _ in self.models if name != self.base]

    def _needed_base(self) -> str:
        if self.base is None:
            self.problems.append(f"base_model: {self.method} needs one")
        return self.base or ""

    def _number(self, own: Mapping[str, Any], key: str, name: str) -> float:
        value = own.get(key, self.shared.get(key))
        if value is None:
            self.problems.append(f"{name}: {key} is missing")
            return 1.0
        return self._constant(value, f"{name}: {key}")

    def _same(self, own: Mapping[str, Mapping[str, Any]], key: str, default: float) -> float:
        given = [values.get(key, self.shared.get(key, default)) for values in own.values()]
        numbers = [self._constant(value, key) for value in given]
        if len(set(numbers)) > 1:
            self.problems.append(f"{key}: one value for all encoders, found {numbers}")
        return numbers[0] if numbers else default

    def _mapping(self, value: Any, where: str) -> dict[str, Any]:
        if value is None or isinstance(value, Mapping):
            return dict(value or {})
        self.problems.append(f"{where}: wants parameters and values, found {value!r}")
        return {}

    def _flag(self, key: str, default: bool) -> bool:
        value = self.shared.get(key, default)
        if value not in (True, False):
            self.problems.append(f"{key}: true or false, found {value!r}")
        return bool(value)

    def _constant(self, value: Any, where: str) -> float:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and math.isfinite(value):
            return float(value)
        self.problems.append(f"{where}: one number, found {value!r}; ramps and filters only for t")
        return 1.0

    def _alpha(self, value: Any) -> tuple[str, ...]:
        """Translate `t`: mergekit takes the first filter that fits, `--alpha` the last pattern."""
        if value is None:
            self.problems.append("t: missing")
            return ()
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            texts = []
            for item in value:
                known = isinstance(item, Mapping) and not set(item) - {"filter", "value"}
                if not known:
                    self.problems.append(f"t: cannot read {item!r}")
                    continue
                pattern = f"*{item['filter']}*=" if item.get("filter") else ""
                texts.append(pattern + self._ramp(item.get("value")))
                if not pattern:
                    break  # it fits everything, so that later filters never count
            return tuple(reversed(texts))
        return (self._ramp(value),)

    def _ramp(self, value: Any) -> str:
        points = value if isinstance(value, list) else [value]
        return "..".join(repr(self._constant(point, "t")) for point in points)


# What is read in a way of its own; everything else is read as task vectors.
_READERS = {
    "linear": _Reader.read_linear,
    "slerp": _Reader.read_slerp,
    "model_stock": _Reader.read_model_stock,
    "karcher": _Reader.read_karcher,
}
