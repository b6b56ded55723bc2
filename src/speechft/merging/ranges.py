"""What numbers a tensor may hold: finite ones, that fit the type they are stored in."""

from __future__ import annotations

import math

import numpy as np

from speechft.core.errors import CheckpointError
from speechft.merging.dtypes import Array
from speechft.merging.tensorfile import TensorInfo

#: Largest magnitude that still rounds to a finite number.
_LIMIT = {
    "F16": 65519.99,
    "BF16": 3.3961775e38,
    "F32": 3.4028235e38,
    "F64": float(np.finfo(np.float64).max),
}


def all_finite(values: Array) -> bool:
    """Tell whether no value is NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(values.sum())
    return math.isfinite(total) or bool(np.isfinite(values).all())


def refuse_overflow(values: Array, out: TensorInfo) -> None:
    """Refuse values that the type of the result cannot hold.

    Raises:
        CheckpointError: says how large they may be.
    """
    if out.dtype not in _LIMIT or not values.size:
        return
    if out.dtype in ("F32", "F64") and values.dtype == np.float32:
        return
    largest = max(float(values.max()), -float(values.min()))
    if math.isnan(largest) or largest > _LIMIT[out.dtype]:
        raise CheckpointError(
            f"the merged weights do not fit {out.dtype}",
            where=out.name,
            expected=f"magnitudes up to {_LIMIT[out.dtype]:.6g}",
            found=largest,
            hint="choose another alpha, or --dtype float32",
        )
