"""Reading and writing safetensors files by parts: positioned reads and writes, no torch, no mmap.

Memory maps would count the whole file as resident memory; positioned reads need one buffer.
Format: https://github.com/huggingface/safetensors (8-byte header length, JSON header, data).
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from speechft.core.errors import CheckpointError
from speechft.merging.dtypes import STORAGE, Array

MAX_HEADER = 25_000_000
MAX_TENSORS = 100_000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
            self.tensors, self.metadata = _read_header(self._handle, path)
        except BaseException:
            os.close(self._handle)
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

    Args:
        path: a temporary path; the caller moves the file into place when all is written.
        tensors: name, type and shape of every tensor, in the order they are stored.
        metadata: free text entries of the header (transformers wants `format: pt`).
    """

    def __init__(
        self, path: Path, tensors: Sequence[TensorInfo], metadata: Mapping[str, str]
    ) -> None:
        self.path = path
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        offset = 0
        for info in tensors:
            end = offset + info.nbytes
            header[info.name] = {
                "dtype": info.dtype,
                "shape": list(info.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        start = 8 + len(text)
        self.tensors: dict[str, TensorInfo] = {}
        for info in tensors:
            self.tensors[info.name] = TensorInfo(info.name, info.dtype, info.shape, start)
            start += info.nbytes
        self.size = start
        self._handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
        try:
            _reserve(self._handle, self.size)
            self._put(len(text).to_bytes(8, "little") + text, 0)
        except BaseException:
            os.close(self._handle)
            raise

    def write(self, name: str, start: int, stored: Array) -> None:
        """Write stored bits of a tensor from element `start` on."""
        info = self.tensors[name]
        kind = STORAGE[info.dtype]
        view = np.ascontiguousarray(stored, dtype=kind).reshape(-1).view(np.uint8)
        self._put(view.data, info.begin + start * kind.itemsize)

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

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


def _read_header(handle: int, path: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
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
    metadata = header.pop("__metadata__", None) or {}
    if len(header) > MAX_TENSORS:
        raise _broken(path, f"{len(header)} tensors, more than any encoder has")
    return {
        name: _tensor(name, entry, 8 + length, path) for name, entry in header.items()
    }, metadata


def _tensor(name: str, entry: Mapping[str, Any], start: int, path: Path) -> TensorInfo:
    dtype = entry["dtype"]
    if dtype not in STORAGE:
        raise CheckpointError(
            f"tensors of type {dtype} are not merged",
            where=f"{path}: {name}",
            expected=", ".join(STORAGE),
            hint="convert the encoder to float32, float16 or bfloat16 first",
        )
    return TensorInfo(name, dtype, tuple(entry["shape"]), start + entry["data_offsets"][0])


def _broken(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "this is not a whole safetensors file",
        where=path,
        expected="a header and the data it describes",
        found=found,
        hint="download or copy the file again",
    )
