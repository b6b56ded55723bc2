"""Reading torch files without running anything that they contain.

A pickle is a program: it names functions and calls them. Here a name is one of three things:
a few builders of tensors and plain containers, which are ours; a class that stands for data
(`argparse.Namespace`, omegaconf's, fairseq's), which becomes an inert `Record`; or anything else,
which is refused by name. No module is ever imported because a file asks for it. Records (omegaconf,
argparse, fairseq dictionaries) become plain values in turn.
"""

from __future__ import annotations

import _compat_pickle
import io
import math
import pickle
import pickletools
import re
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.encoders.identity import damage


class Record:
    """An inert stand-in for an object of a class that is not known here.

    Attributes:
        class_name: the full name that the file gives.
        args: what its constructor would have been called with.
        state: its attributes; items of a mapping or list stand under their keys or numbers.
    """

    class_name = "?"

    def __init__(self, *args: Any, **state: Any) -> None:
        self.args = args
        self.state: dict[Any, Any] = dict(state)

    def __new__(cls, *_args: Any, **_state: Any) -> Record:
        """Make a record even where a file skips the constructor."""
        record = super().__new__(cls)
        record.args = ()
        record.state = {}
        return record

    def __setstate__(self, state: Any) -> None:
        parts = state if isinstance(state, tuple) else (state,)
        for part in parts:
            if isinstance(part, dict):
                self.state.update(part)
            elif part is not None:
                self.state["state"] = part

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def append(self, value: Any) -> None:
        """Take an item of a list."""
        self.state[len(self.state)] = value

    def extend(self, values: Any) -> None:
        """Take items of a list."""
        for value in values:
            self.append(value)

    add = append

    def __repr__(self) -> str:
        return f"Record({self.class_name})"


class Builder:
    """A callable that a file may use, closed to changes."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"a builder has no attribute {name}")

    def __call__(self, *args: Any) -> Any:
        """Build."""
        return self._function(*args)


class PlainDict(dict[Any, Any]):
    """What stands for an `OrderedDict`: its attributes (torch's `_metadata`) are left out.

    A file could otherwise put a value of its own in the place of `items` or `values`.
    """

    __slots__ = ()

    def __setstate__(self, _state: Any) -> None:
        return None


class StorageType:
    """What a file calls `torch.FloatStorage` and the like: a type of numbers, closed to changes."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: torch.dtype | None) -> None:
        object.__setattr__(self, "dtype", dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"a storage type has no attribute {name}")


_DEPTH = 40
_NODES = 1_000_000


def plain(value: Any) -> Any:
    """Give plain dicts, lists, numbers and text; what has no plain form becomes None.

    omegaconf keeps its content under `_content` and `_val`, a namespace its attributes as they
    are, a fairseq dictionary its words under `symbols`, an enumeration its value as argument.

    Raises:
        ValueError: there are more than a million values, as where lists hold each other many times.
    """
    return _plain(value, 0, [_NODES])


def _plain(value: Any, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"settings of more than {_NODES} values")
    if depth > _DEPTH or isinstance(value, Tensor):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, dict):
        return {_key(k): _plain(v, depth + 1, left) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, depth + 1, left) for v in value]
    if isinstance(value, Record):
        for name in ("_content", "_val", "symbols"):
            if name in value.state:
                return _plain(value.state[name], depth + 1, left)
        if value.class_name.startswith("argparse.") or not value.args:
            return _plain(value.state, depth + 1, left)
        return _plain(value.args[0], depth + 1, left)
    return None


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool) else type(key).__name__


LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
_STDLIB_DATA = frozenset(
    ["argparse", "collections", "datetime", "decimal", "enum", "pathlib", "types", "typing", "uuid"]
)
_TIMES = frozenset(["date", "datetime", "time", "timedelta", "timezone"])
_NEVER_DATA = frozenset(
    ["torch", "numpy", "dill", "cloudpickle", "joblib", "pandas", "scipy", "sklearn"]
)
_FLOATS = (("Float", 32), ("Double", 64), ("Half", 16))
_INTEGERS = (("Long", 64), ("Int", 32), ("Short", 16), ("Char", 8))
_BROKEN = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, struct.error, EOFError, OSError, MemoryError),
    *(ArithmeticError, AttributeError, AssertionError, LookupError, TypeError, ValueError),
    *(RuntimeError, NotImplementedError, RecursionError),
)
_STORAGES: dict[str, torch.dtype | None] = {
    **{f"{name}Storage": getattr(torch, f"float{bits}") for name, bits in _FLOATS},
    **{f"{name}Storage": getattr(torch, f"int{bits}") for name, bits in _INTEGERS},
    **{"BFloat16Storage": torch.bfloat16, "ComplexFloatStorage": torch.complex64},
    **{"ByteStorage": torch.uint8, "BoolStorage": torch.bool, "UntypedStorage": None},
}
_DTYPES = {str(d).removeprefix("torch."): d for d in _STORAGES.values() if d is not None}


def read_torch_file(path: Path) -> Any:
    """Read what `torch.save` wrote (the zip format, or the one before torch 1.6).

    Returns:
        Tensors, plain containers, and `Record` objects.

    Raises:
        CheckpointError: the file names something that may not be built, or it is broken.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            if not head:
                raise _broken(path, "the file is empty")
            if head[257:262] == b"ustar":
                raise _broken(path, "a tar archive, as torch wrote before version 0.2")
            return _read_zip(file) if head.startswith(b"PK") else _read_legacy(file)
    except CheckpointError:
        raise
    except _Refused as error:
        raise CheckpointError(
            "the file is refused: reading it as a pickle would run code",
            where=path,
            found=f"it names {error}",
            expected="tensors, plain containers and records of settings",
            hint="do not trust this file; ask its author for safetensors",
        ) from None
    except _BROKEN as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from None


def _broken(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "the checkpoint cannot be read: it is cut short, damaged, or no torch file",
        where=path,
        **damage(path, found),
    )


class _Refused(Exception):
    """A file names something that may not be built."""


class _Reader(pickle.Unpickler):
    """The unpickler: names resolve to builders and records only."""

    def __init__(self, file: IO[bytes], load_storage: Callable[[Any], Any] | None = None) -> None:
        _check_memo(file)
        super().__init__(file, encoding="utf-8", errors="surrogateescape")
        self._load_storage = load_storage
        self._records: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> Any:
        module, name = _modern_name(module, name)
        known = _BUILDERS.get(f"{module}.{name}")
        if known is not None:
            return known
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return StorageType(_STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if not _stands_for_data(module, name):
            raise _Refused(f"{module}.{name}")
        full = f"{module}.{name}"
        if full not in self._records:
            self._records[full] = type(name.rpartition(".")[2], (Record,), {"class_name": full})
        return self._records[full]

    def persistent_load(self, identity: Any) -> Any:
        if self._load_storage is None:
            raise pickle.UnpicklingError("a storage where none can be")
        return self._load_storage(identity)


def _check_memo(file: IO[bytes]) -> None:
    """Refuse numbers in the memo that no writer gives: the table would be as long as the number."""
    start = file.tell()
    for opcode, number, place in pickletools.genops(file):
        if opcode.name.endswith("PUT") and int(number or 0) > (place or 0) - start:
            raise pickle.UnpicklingError("the memo is larger than the file")
    file.seek(start)


def _modern_name(module: str, name: str) -> tuple[str, str]:
    """Undo the names of Python 2 that pickle's old protocols use (`__builtin__.long`)."""
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


def _stands_for_data(module: str, name: str) -> bool:
    """Tell whether a name may become a record: a class, by its spelling, of a harmless module."""
    root = module.partition(".")[0]
    if root in _NEVER_DATA:
        return False
    if (root in sys.stdlib_module_names or root.startswith("_")) and root not in _STDLIB_DATA:
        return root == "__main__" and name[:1].isupper()
    if module == "datetime":
        return name in _TIMES
    dotted = all(part.isidentifier() for part in f"{module}.{name}".split("."))
    return dotted and bool(re.match(r"[A-Z]", name.rpartition(".")[2]))


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: Any) -> Tensor:
    if not isinstance(storage, Tensor):
        raise pickle.UnpicklingError("a tensor without a storage")
    size, stride = tuple(size), tuple(stride)
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    empty = any(n == 0 for n in size)
    if min((offset, *size, *stride)) < 0 or (not empty and last >= storage.numel()):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    if math.prod(size) > storage.numel():
        raise pickle.UnpicklingError("a tensor is larger than its storage")
    return storage.as_strided(size, stride, offset)


def _typed(function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    return function(*args) if isinstance(function, Builder) else Record(*args)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("an unusual encoding")
    return text.encode("latin1")


def _reconstructed(kind: Any, _base: Any, _state: Any) -> Record:
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise pickle.UnpicklingError("an object that is no record")
    return kind()


def _member(*args: Any) -> Record:
    """Give what stands for a member of an enumeration, as Python 3.11.0 to 3.11.3 write it."""
    kind, name = args if len(args) == 2 else (None, None)
    if not (isinstance(kind, type) and issubclass(kind, Record) and isinstance(name, str)):
        raise _Refused("builtins.getattr")
    return kind(name)


_BUILDERS: dict[str, Any] = {
    "collections.OrderedDict": Builder(lambda *args: PlainDict(*args)),
    "collections.defaultdict": Builder(lambda *_: {}),
    "torch._utils._rebuild_tensor_v2": Builder(_tensor),
    "torch._utils._rebuild_tensor": Builder(_tensor),
    "torch._utils._rebuild_parameter": Builder(lambda data, *_: data),
    "torch._utils._rebuild_parameter_with_state": Builder(lambda data, *_: data),
    "torch._tensor._rebuild_from_type_v2": Builder(_typed),
    "torch.Size": Builder(tuple),
    "torch.device": Builder(lambda *args: ":".join(map(str, args))),
    "_codecs.encode": Builder(_latin1),
    "copyreg._reconstructor": Builder(_reconstructed),
    "builtins.type": Builder(lambda *_: None),
    "builtins.getattr": Builder(_member),
    "numpy.dtype": Builder(lambda *args: Record(*args)),
    "numpy.ndarray": Builder(lambda *args: Record(*args)),
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    for _name in ("scalar", "_reconstruct"):
        _BUILDERS[f"{_module}.{_name}"] = Builder(lambda *args: Record(*args))
for _kind in (set, frozenset, list, tuple, dict, int, float, bool, complex):
    _BUILDERS[f"builtins.{_kind.__name__}"] = Builder(_kind)
# With more arguments, str() would look for a codec by the name that the file gives.
_BUILDERS["builtins.str"] = Builder(lambda value="": str(value))


def _read_zip(file: IO[bytes]) -> Any:
    size = _remaining(file)
    with zipfile.ZipFile(file) as archive:
        _check_sizes(archive, size)
        names = archive.namelist()
        [pickled] = [n for n in names if n.endswith("/data.pkl") and n.count("/") == 1]
        root = pickled.removesuffix("data.pkl")
        if f"{root}constants.pkl" in names or any(n.startswith(f"{root}code/") for n in names):
            raise _Refused("a TorchScript program")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise pickle.UnpicklingError("tensors in big-endian order")
        storages: dict[str, Tensor] = {}

        def load_storage(identity: Any) -> Tensor:
            _, kind, key, _location, count = identity
            if key not in storages:
                storages[key] = _from_bytes(archive.read(f"{root}data/{key}"), kind, count)
            return storages[key]

        return _Reader(io.BytesIO(archive.read(pickled)), load_storage).load()


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive that unpacks to more than it is: `torch.save` compresses nothing."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise pickle.UnpicklingError("compressed entries, which torch.save does not write")
    if sum(entry.file_size for entry in entries) > size:
        raise pickle.UnpicklingError("entries that are larger than the file")


def _from_bytes(data: bytes, kind: Any, count: int) -> Tensor:
    dtype = kind.dtype or torch.uint8
    if len(data) != count * dtype.itemsize:
        raise pickle.UnpicklingError("a storage is not as long as the file says")
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _read_legacy(file: IO[bytes]) -> Any:
    """Read the format before torch 1.6: pickles in a row, then the storages' bytes."""
    magic = _Reader(file).load()
    if magic != LEGACY_MAGIC:
        raise pickle.UnpicklingError("a pickle, but not one that torch.save wrote")
    if _Reader(file).load() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("an unknown version of the format")
    system = _Reader(file).load()
    if not system.get("little_endian", True):
        raise pickle.UnpicklingError("tensors in big-endian order")
    storages: dict[str, Tensor] = {}

    def load_storage(identity: Any) -> Tensor:
        _, kind, key, _location, count, view = identity
        if view is not None:
            raise pickle.UnpicklingError("a view of a storage")
        if key not in storages:
            dtype = kind.dtype or torch.uint8
            remaining = _remaining(file)
            if not 0 <= count * dtype.itemsize <= remaining:
                raise pickle.UnpicklingError("a storage is longer than the file")
            storages[key] = torch.empty(count, dtype=dtype)
        return storages[key]

    content = _Reader(file, load_storage).load()
    for key in _Reader(file).load():
        (count,) = struct.unpack("<q", file.read(8))
        storage = storages[key]
        if count != storage.numel():
            raise pickle.UnpicklingError("a storage is not as long as the file says")
        data = file.read(count * storage.element_size())
        storage.copy_(_from_bytes(data, StorageType(storage.dtype), count))
    return content


def _remaining(file: IO[bytes]) -> int:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end - here
