"""Element types of safetensors files, without torch: sizes, and rounding to and from float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: safetensors name → NumPy type of the stored bits (bfloat16 has none and is held as uint16).
STORAGE: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})

#: What people call the types they may ask for, and the safetensors name.
BY_USER_NAME = {
    "float32": "F32",
    "fp32": "F32",
    "float16": "F16",
    "fp16": "F16",
    "bfloat16": "BF16",
    "bf16": "BF16",
}
USER_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def is_float(dtype: str) -> bool:
    """Say whether tensors of this type are merged (others are kept from BASE)."""
    return dtype in FLOATS


def from_bfloat16(bits: Array) -> Array:
    """Give float32 values of bfloat16 bits (uint16, any shape); exact."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def to_bfloat16(values: Array) -> Array:
    """Round float32 to the nearest bfloat16, ties to even; NaN stays NaN. Gives uint16 bits."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    bits = values.view(np.uint32)
    result = bits >> 16
    odd = result & 1
    odd += 0x7FFF
    odd += bits
    odd >>= 16
    nan = np.isnan(values)
    if nan.any():
        odd[nan] = result[nan] | 0x40
    return odd.astype(np.uint16)


def decode(stored: Array, dtype: str) -> Array:
    """Give the values of stored bits in the type that arithmetic is done in.

    float32 for every float type, float64 for F64; other types are given back as they are.
    """
    if dtype == "BF16":
        return from_bfloat16(stored)
    if dtype == "F16":
        return stored.astype(np.float32)
    return stored


def encode(values: Array, dtype: str) -> Array:
    """Round values once (to nearest, ties to even) to the bits stored for `dtype`."""
    if dtype == "BF16":
        return to_bfloat16(values)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=STORAGE[dtype])
