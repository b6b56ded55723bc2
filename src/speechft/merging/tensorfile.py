"""Safetensors files by parts, without torch or mmap: element types, rounding, reads and writes.

Memory maps would count the whole file as resident memory; positioned reads need one buffer.
Format: https://github.com/huggingface/safetensors (8-byte header length, JSON header, data).
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speechft.core.errors import CheckpointError
from speechft.encoders.identity import damage

Array = NDArray[Any]

#: safetensors name → NumPy type of the stored bits (bfloat16 has none and is held as uint16).
STORAGE: dict[str, np.dtype[Any]] = {
    name: np.dtype(kind)
    for name, kind in zip(
        ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"],
        ["<f8", "<f4", "<f2", "<u2", "<i8", "<i4", "<i2", "i1", "<u8", "<u4", "<u2", "u1", "?"],
        strict=True,
    )
}
USER_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
#: What people call the types they may ask for, and the safetensors name.
BY_USER_NAME = {
    **{"float32": "F32", "fp32": "F32", "float16": "F16", "fp16": "F16"},
    **{"bfloat16": "BF16", "bf16": "BF16"},
}
#: Largest magnitude that still rounds to a finite number.
_LIMIT = {
    **{"F16": 65519.99, "BF16": 3.3961775e38, "F32": 3.4028235e38},
    "F64": float(np.finfo(np.float64).max),
}
MAX_HEADER = 25_000_000
MAX_TENSORS = 100_000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_float(dtype: str) -> bool:
    """Say whether tensors of this type are merged (others are kept from BASE)."""
    return dtype in USER_NAMES


def decode(stored: Array, dtype: str) -> Array:
    """Give the values of stored bits in the type that arithmetic is done in.

    float32 for every float type, float64 for F64; other types are given back as they are.
    """
    if dtype == "BF16":
        wide = stored.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return stored.astype(np.float32) if dtype == "F16" else stored


def encode(values: Array, dtype: str) -> Array:
    """Round values once (to nearest, ties to even) to the bits stored for `dtype`."""
    if dtype == "BF16":
        return _to_bfloat16(values)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=STORAGE[dtype])


def _to_bfloat16(values: Array) -> Array:
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


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor is and what it is.

    Args:
        name: as stored.
        dtype: safetensors name of the type ("F32").
        shape: sizes of the axes.
        begin: offset of the first byte in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int = 0

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self.count * STORAGE[self.dtype].itemsize


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


class TensorFile:
    """One open safetensors file; parts of tensors are read at their place, from any thread.

    Raises:
        CheckpointError: the file is missing, cut short, or no safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise CheckpointError(
                "cannot open the checkpoint", where=path, found=error.strerror
            ) from None
        try:
            self.tensors = _read_header(self._handle, path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def read(self, info: TensorInfo, start: int, stop: int, into: Array | None = None) -> Array:
        """Give the stored bits of elements [start, stop), 1-D.

        Args:
            info: the tensor.
            start: first element.
            stop: one past the last element.
            into: bytes (uint8) to read into, if they are enough; else a new array is made.
        """
        kind = STORAGE[info.dtype]
        size = (stop - start) * kind.itemsize
        if into is None or into.nbytes < size:
            into = np.empty(size, np.uint8)
        array = into[:size].view(kind)
        view = array.view(np.uint8).data
        offset = info.begin + start * kind.itemsize
        while view:
            got = os.preadv(self._handle, [view], offset)
            if got == 0:
                raise CheckpointError(
                    "the checkpoint became shorter while it was read", where=self.path
                )
            view, offset = view[got:], offset + got
        return array


class TensorFileWriter:
    """A safetensors file whose layout is fixed first and whose parts are written in any order.

    Its header says `format: pt`, which transformers wants.

    Args:
        path: a temporary path; the caller moves the file into place when all is written.
        tensors: name, type and shape of every tensor, in the order they are stored.
    """

    def __init__(self, path: Path, tensors: Sequence[TensorInfo]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        places: dict[str, int] = {}
        end = 0
        for info in tensors:
            places[info.name], end = end, end + info.nbytes
            header[info.name] = {
                **{"dtype": info.dtype, "shape": list(info.shape)},
                "data_offsets": [places[info.name], end],
            }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        self._begins = {name: 8 + len(text) + place for name, place in places.items()}
        self._handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            _reserve(self._handle, 8 + len(text) + end)
            self._put(len(text).to_bytes(8, "little") + text, 0)
        except BaseException:
            self.close()
            raise

    def write(self, name: str, start: int, stored: Array) -> None:
        """Write stored bits of a tensor, in its type, from element `start` on."""
        view = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
        self._put(view.data, self._begins[name] + start * stored.itemsize)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _put(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._handle, view, offset)
            view, offset = view[done:], offset + done


def _reserve(handle: int, size: int) -> None:
    """Claim the space at once, so that a full disk is noticed before any work is done."""
    try:
        os.posix_fallocate(handle, 0, size)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", None) in _NO_SPACE:
            raise
        os.ftruncate(handle, size)


def _read_header(handle: int, path: Path) -> dict[str, TensorInfo]:
    """Read what the library calls valid; only the places of the tensors are read here.

    The library checks all: that keys are not doubled, sizes are whole numbers, that nothing
    overlaps or is left over, and that the file ends where its data does.
    """
    length = int.from_bytes(os.pread(handle, 8, 0), "little")
    if length > MAX_HEADER:
        raise _broken(path, f"a header of {length} bytes, more than any encoder has")
    try:
        with safe_open(path, framework="numpy"):
            header = json.loads(os.pread(handle, length, 8))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from None
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise _broken(path, f"{len(header)} tensors, more than any encoder has")
    tensors: dict[str, TensorInfo] = {}
    for name, entry in header.items():
        dtype, begin = entry["dtype"], 8 + length + entry["data_offsets"][0]
        if dtype not in STORAGE:
            raise CheckpointError(
                f"tensors of type {dtype} are not merged",
                where=f"{path}: {name}",
                expected=", ".join(STORAGE),
                hint="convert the encoder to float32, float16 or bfloat16 first",
            )
        tensors[name] = TensorInfo(name, dtype, tuple(entry["shape"]), begin)
    return tensors


def _broken(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "this is not a whole safetensors file",
        where=path,
        expected="a header and the data it describes",
        **damage(path, found),
    )
