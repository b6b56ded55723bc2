"""Weight-normalised kernels: a magnitude `g` and a direction `v`, kernel = g · v / ‖v‖."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from speechft.merging.tensorfile import Array


def pairs(names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Give name → (g, v), all canonical, for every tensor whose partner is there too."""
    found = {n: (f"{n[:-2]}_g", f"{n[:-2]}_v") for n in names if n.endswith(("_g", "_v"))}
    return {name: pair for name, pair in found.items() if all(part in names for part in pair)}


def fuse(magnitude: Array, direction: Array) -> Array:
    """Give the effective kernel g · v / ‖v‖, the norm over all axes where `g` has size 1.

    Args:
        magnitude: g, for example (1, 1, K).
        direction: v, for example (D, D/groups, K).
    """
    norm = _norm(direction, magnitude.shape)
    safe = np.where(norm == 0, 1, norm)
    kernel: Array = direction * (magnitude / safe).astype(direction.dtype)
    return kernel


def split(kernel: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Give (g, v) of an effective kernel: v is the kernel itself, g its norms.

    Args:
        kernel: the effective kernel.
        shape: of g.
    """
    return _norm(kernel, shape).astype(kernel.dtype), kernel


def _norm(direction: Array, shape: tuple[int, ...]) -> Array:
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    squares = np.square(direction, dtype=np.float64)
    norm: Array = np.sqrt(squares.sum(axis=axes, keepdims=True))
    return norm
