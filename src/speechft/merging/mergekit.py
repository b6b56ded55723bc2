"""Read merge recipes in mergekit's spelling, where they mean the same here; say where they do not.

mergekit (LGPL) is not used; this reads its configuration files only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean

_TOP = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "name")
_LANGUAGE = "speech encoders have no tokenizer or template"
_NOT_HERE = {
    **dict.fromkeys(("tokenizer", "tokenizer_source", "chat_template"), _LANGUAGE),
    **dict.fromkeys(("slices", "modules"), "layers are not rearranged; list whole `models`"),
}
_DENSE, _SUM = ("weight", "density"), ("normalize", "lambda", "rescale")
#: mergekit's method → parameters that it has per encoder and for all.
_METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "linear": (("weight",), ("normalize",)),
    "slerp": ((), ("t",)),
    "task_arithmetic": (("weight",), ("normalize", "lambda")),
    "ties": (_DENSE, _SUM),
    "dare_linear": (_DENSE, _SUM),
    "dare_ties": (_DENSE, _SUM),
    "breadcrumbs": ((*_DENSE, "gamma"), _SUM),
    "model_stock": ((), ("filter_wise",)),
    "karcher": ((), ("max_iter", "tol")),
}
_DIFFERENT = {
    "multislerp": "mergekit's tangent step is zero, so that it gives the normalised mean; "
    "ours is SLERP for several encoders: write --method multislerp",
    "passthrough": "encoders are not stacked from layers here",
}


def from_mergekit(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a mergekit configuration.

    Args:
        recipe: the YAML's content.

    Returns:
        What it says in the terms of `MergeSettings`; arithmetic is always in float32 here.

    Raises:
        SettingsError: lists everything that is unknown, or would mean something else here.
    """
    method = str(recipe.get("merge_method", ""))
    if method not in _METHODS:
        reason = _DIFFERENT.get(method) or did_you_mean(method, _METHODS)
        raise SettingsError(f"cannot take over mergekit's method {method!r}", hint=reason)
    reader = _Reader(recipe, method)
    reader.check()
    base, tuned, alpha, parameters = _READERS.get(method, _task_vectors)(reader)
    dtype, out = recipe.get("dtype"), recipe.get("out_dtype") or recipe.get("dtype")
    if dtype not in (None, "float32"):
        reader.problems.append(
            f"dtype: {dtype} would round the encoders before they are merged; leave it out and "
            f"write out_dtype: {out}"
        )
    if reader.names and not tuned:
        reader.problems.append("models: nothing to merge with the base")
    if reader.problems:
        lines = "\n".join(f"    {problem}" for problem in reader.problems)
        raise SettingsError(f"this recipe means something else here:\n{lines}")
    said = {"base": base, "tuned": tuple(tuned), "method": method, "parameters": parameters}
    said |= {"alpha": tuple(alpha)} if alpha else {}
    return said | ({} if out is None else {"dtype": str(out)})


class _Reader:
    """Reads parts of one recipe and collects everything that does not carry over."""

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
        self.names = [name for name, _ in self.models]
        self.tuned = [name for name in self.names if name != self.base]

    def check(self) -> None:
        """Note unknown keys and parameters."""
        for key in self.recipe:
            if key not in _TOP:
                said = _NOT_HERE.get(key) or f"unknown; {did_you_mean(str(key), _TOP)}"
                self.problems.append(f"{key}: {said}")
        per_model, for_all = _METHODS[self.method]
        for where, values in [("parameters", self.shared), *self.models]:
            allowed = (*per_model, "int8_mask", *(for_all if where == "parameters" else ()))
            unknown = [key for key in values if key not in allowed]
            self.problems += [f"{where}: {self.method} has no {key!r} there" for key in unknown]
        if any("+" in name for name in self.names):
            self.problems.append("models: merge LoRA adapters into their encoders first")
        if len(set(self.names)) < len(self.names):
            self.problems.append("models: one is listed twice")
        if not (self.names or {"slices", "modules"} & self.recipe.keys()):
            self.problems.append("models: none")

    def needed_base(self) -> str:
        """Give the base, or note that there is none."""
        if self.base is None:
            self.problems.append(f"base_model: {self.method} needs one")
        return self.base or ""

    def weight(self, own: Mapping[str, Any], name: str) -> float:
        """Give an encoder's weight."""
        value = own.get("weight", self.shared.get("weight"))
        if value is None:
            self.problems.append(f"{name}: weight is missing")
            return 1.0
        return self.number(value, f"{name}: weight")

    def same(self, own: Sequence[Mapping[str, Any]], key: str, default: float) -> float:
        """Give a number that has to be one for all encoders."""
        given = [values.get(key, self.shared.get(key, default)) for values in own]
        numbers = [self.number(value, key) for value in given]
        if len(set(numbers)) > 1:
            self.problems.append(f"{key}: one value for all encoders, found {numbers}")
        return numbers[0] if numbers else default

    def flag(self, key: str, default: bool) -> bool:
        """Give true or false."""
        value = self.shared.get(key, default)
        if value not in (True, False):
            self.problems.append(f"{key}: true or false, found {value!r}")
        return bool(value)

    def number(self, value: Any, where: str) -> float:
        """Give a finite number."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if number and math.isfinite(value):
            return float(value)
        self.problems.append(f"{where}: one number, found {value!r}; ramps and filters only for t")
        return 1.0

    def ramp(self, value: Any) -> str:
        """Give a number, or a list of them over depth, as `--alpha` takes it."""
        points = value if isinstance(value, list) else [value]
        return "..".join(repr(self.number(point, "t")) for point in points)

    def _mapping(self, value: Any, where: str) -> dict[str, Any]:
        if value is None or isinstance(value, Mapping):
            return dict(value or {})
        self.problems.append(f"{where}: wants parameters and values, found {value!r}")
        return {}


#: What a recipe says: BASE, the TUNED, texts of alpha, parameters.
_Said = tuple[str, Sequence[str], Sequence[str], dict[str, Any]]


def _linear(reader: _Reader) -> _Said:
    """Σ w_i θ_i / Σ w_i is θ0 + Σ (w_i / Σ w) (θ_i − θ0), whichever is taken as θ0."""
    weights = {name: reader.weight(values, name) for name, values in reader.models}
    total = sum(weights.values())
    if not reader.flag("normalize", True):
        if abs(total - 1) > 1e-6:
            reader.problems.append(f"normalize: false with weights that sum to {total:g}, not 1")
        total = 1.0
    elif total == 0:
        reader.problems.append("weight: they sum to 0")
    base = reader.base if reader.base in weights else next(iter(weights), "")
    if reader.base is not None and reader.base not in weights:
        reader.problems.append("base_model: give it a weight under `models`, or leave it out")
    shares = {name: weight / (total or 1.0) for name, weight in weights.items() if name != base}
    if len(shares) == 1:
        return base, list(shares), (repr(next(iter(shares.values()))),), {}
    return base, list(shares), ("1.0",), {"weights": tuple(shares.values())}


def _slerp(reader: _Reader) -> _Said:
    """`t` is alpha; lists are ramps over depth, filters are patterns."""
    if reader.names and (reader.base is None or len(reader.tuned) != 1):
        reader.problems.append("slerp: wants base_model and one other encoder")
    return reader.base or "", reader.tuned, _alpha(reader, reader.shared.get("t")), {}


def _alpha(reader: _Reader, value: Any) -> Sequence[str]:
    """Translate `t`: mergekit takes the first filter that fits, `--alpha` the last pattern."""
    if value is None:
        reader.problems.append("t: missing")
        return ()
    if not isinstance(value, list) or not any(isinstance(item, Mapping) for item in value):
        return (reader.ramp(value),)
    texts = []
    for item in value:
        if not isinstance(item, Mapping) or set(item) - {"filter", "value"}:
            reader.problems.append(f"t: cannot read {item!r}")
            continue
        pattern = f"*{item['filter']}*=" if item.get("filter") else ""
        texts.append(pattern + reader.ramp(item.get("value")))
        if not pattern:
            break  # it fits everything, so that later filters never count
    else:
        reader.problems.append("t: missing for tensors that fit no filter")
    return texts[::-1]


def _model_stock(reader: _Reader) -> _Said:
    """The encoders besides the base."""
    parameters = {"filter_wise": reader.flag("filter_wise", False)}
    return reader.needed_base(), reader.tuned, (), parameters


def _karcher(reader: _Reader) -> _Said:
    """All encoders count alike: the first is taken as θ0, with a share like the others'."""
    if reader.base is not None:
        reader.problems.append("base_model: karcher has none; list all encoders under `models`")
    base, *tuned = reader.names or [""]
    parameters = {
        "max_steps": reader.number(reader.shared.get("max_iter", 10), "max_iter"),
        "tolerance": reader.number(reader.shared.get("tol", 1e-5), "tol"),
    }
    return base, tuned, (repr(len(tuned) / (len(tuned) + 1)),), parameters


def _task_vectors(reader: _Reader) -> _Said:
    """Task arithmetic, TIES, DARE, Breadcrumbs: weights, density and λ of mergekit."""
    method = reader.method
    own = [values for name, values in reader.models if name != reader.base]
    weights = tuple(map(reader.weight, own, reader.tuned))
    alpha = reader.number(reader.shared.get("lambda", 1.0), "lambda")
    parameters: dict[str, Any] = {"weights": weights}
    per_model, for_all = _METHODS[method]
    for key, default in (("density", 1.0), ("gamma", 0.01)):
        if key in per_model:
            parameters[key] = reader.same(own, key, default)
    normalize = reader.flag("normalize", method == "ties")
    if method in ("ties", "dare_ties"):
        parameters["normalize"] = normalize
    elif normalize and sum(weights) != 0:
        parameters["weights"] = tuple(weight / sum(weights) for weight in weights)
    if "rescale" in for_all:
        dare = method.startswith("dare")
        rescale = reader.flag("rescale", dare)
        if dare:
            parameters["rescale"] = "norm" if rescale else "none"
        elif rescale:
            reader.problems.append(f"rescale: {method} does not rescale here")
    return reader.needed_base(), reader.tuned, (repr(alpha),), parameters


#: What is read in a way of its own; everything else is read as task vectors.
_READERS: dict[str, Callable[[_Reader], _Said]] = {
    **{"linear": _linear, "slerp": _slerp, "model_stock": _model_stock, "karcher": _karcher}
}
