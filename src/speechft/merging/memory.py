"""Merging state dicts in memory, for sweeps over alpha without a file per point."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from speechft.core.errors import IncompatibleModelsError
from speechft.merging.methods import METHODS

T = TypeVar("T")


def linear_state(base: Mapping[str, T], tuned: Any, alpha: float) -> dict[str, T]:
    """Interpolate state dicts: θ0 + alpha · mean_i(θ'_i − θ0), in float32, rounded once.

    The keys must be equal; names are not normalised here. Tensors that are not floating-point are
    BASE's. The result has BASE's types (and devices); alpha = 0 and 1 are bit-exact.

    Args:
        base: name → torch tensor or NumPy array.
        tuned: one such mapping, or a list of them.
        alpha: 0 gives BASE, 1 the (mean of the) tuned.

    Raises:
        IncompatibleModelsError: keys or shapes differ.
    """
    states: Sequence[Mapping[str, T]] = [tuned] if isinstance(tuned, Mapping) else list(tuned)
    problems = [problem for state in states for problem in _problems(base, state)]
    if problems or not states:
        text = "\n".join(f"    {problem}" for problem in problems) or "    no tuned encoder"
        raise IncompatibleModelsError(f"these state dicts cannot be merged\n{text}")
    return {
        name: merge_values(value, [state[name] for state in states], alpha)
        for name, value in base.items()
    }


def merge_values(base: Any, tuned: Sequence[Any], alpha: float) -> Any:
    """Interpolate one tensor (torch or NumPy); give it in BASE's kind, type and device."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(base, torch.Tensor):
        if not base.is_floating_point() or alpha == 0:
            return base.detach().clone()
        if alpha == 1 and len(tuned) == 1:
            return tuned[0].detach().to(base).clone()
        wide = torch.float64 if base.dtype == torch.float64 else torch.float32
        arrays = [value.detach().to("cpu", wide).numpy() for value in (base, *tuned)]
        merged = METHODS["linear"].function(arrays[0], arrays[1:], alpha=alpha)
        return torch.from_numpy(merged).to(base)
    if not np.issubdtype(base.dtype, np.floating) or alpha == 0:
        return base.copy()
    wide = np.promote_types(base.dtype, np.float32)
    arrays = [np.asarray(value, dtype=wide) for value in (base, *tuned)]
    merged = METHODS["linear"].function(arrays[0], arrays[1:], alpha=alpha)
    return merged.astype(base.dtype, copy=False)


def _problems(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[str]:
    lines = [f"missing    {name}" for name in base if name not in tuned]
    lines += [f"extra      {name}" for name in tuned if name not in base]
    lines += [
        f"mis-shaped {name}: BASE {list(base[name].shape)}, TUNED {list(tuned[name].shape)}"
        for name in base
        if name in tuned and tuple(base[name].shape) != tuple(tuned[name].shape)
    ]
    return lines
