"""Hidden states to one file, one utterance at a time: nothing is held until the end.

A safetensors file begins with a table of all tensors, whose sizes are known last: room for it is
left at the start, and what the table does not need is filled with spaces, as the format allows.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechft.core.errors import SettingsError
from speechft.core.files import atomic_path

SUFFIXES = (".safetensors", ".npz", ".npy")
Array = NDArray[Any]

_NAMES = {"float16": "F16", "float32": "F32"}
# No reader takes a longer table.
_LONGEST_TABLE = 100_000_000
_ENTRY = '{"dtype":"F32","shape":[,,],"data_offsets":[,]},'
_DIGITS = 4 + 10 + 7 + 2 * 16


class StateFile(Protocol):
    """An open file of hidden states."""

    def add(self, name: str, states: Array) -> None:
        """Write one utterance's states."""


@contextmanager
def open_states(
    out: Path, names: Sequence[str], about: Mapping[str, Any], *, pooled: bool
) -> Iterator[StateFile]:
    """Open a file that takes each name once, in any order, and stands there only when it is whole.

    Args:
        out: ends in .safetensors, .npz or .npy.
        names: of all utterances; the order is that of the rows of a .npy file.
        about: plain values about the states, kept by .safetensors.
        pooled: whether a .npy file has one row per name; else it holds the states of a single one.
    """
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        if out.suffix == ".safetensors":
            table = _Safetensors(file, names, about)
            yield table
            table.close()
        elif out.suffix == ".npz":
            with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
                yield _Archive(archive)
        else:
            yield _Rows(file, {name: row for row, name in enumerate(names)} if pooled else None)


class _Safetensors:
    def __init__(self, file: IO[bytes], names: Sequence[str], about: Mapping[str, Any]) -> None:
        self._file = file
        self._entries: dict[str, Any] = {"__metadata__": {"about": json.dumps(dict(about))}}
        room = len(json.dumps(self._entries)) + sum(
            len(json.dumps(name)) + 1 + len(_ENTRY) + _DIGITS for name in names
        )
        self._room = room + -room % 8
        if self._room > _LONGEST_TABLE:
            raise SettingsError(
                "too many files for one .safetensors file",
                found=f"{len(names)} files",
                hint="write .npz, or several files",
            )
        file.write(self._room.to_bytes(8, "little") + b" " * self._room)
        self._end = 0

    def add(self, name: str, states: Array) -> None:
        data = np.ascontiguousarray(states)
        end = self._end + data.nbytes
        self._entries[name] = {
            "dtype": _NAMES[data.dtype.name],
            "shape": list(data.shape),
            "data_offsets": [self._end, end],
        }
        self._file.write(data.data)
        self._end = end

    def close(self) -> None:
        text = json.dumps(self._entries, separators=(",", ":")).encode()
        self._file.seek(8)
        self._file.write(text.ljust(self._room))


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, states: Array) -> None:
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(states), allow_pickle=False)


class _Rows:
    """One array: a row per name, written at its place; or the array of the only name."""

    def __init__(self, file: IO[bytes], rows: Mapping[str, int] | None) -> None:
        self._file = file
        self._rows = rows
        self._start: int | None = None

    def add(self, name: str, states: Array) -> None:
        data = np.ascontiguousarray(states)
        if self._start is None:
            self._start = self._begin(data)
        row = 0 if self._rows is None else self._rows[name]
        self._file.seek(self._start + row * data.nbytes)
        self._file.write(data.data)

    def _begin(self, data: Array) -> int:
        shape = data.shape if self._rows is None else (len(self._rows), *data.shape)
        header = {
            "descr": np.lib.format.dtype_to_descr(data.dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()
