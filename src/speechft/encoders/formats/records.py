"""What the objects of an untrusted pickle become: inert records, closed builders, plain dicts.

Records (omegaconf, argparse, fairseq dictionaries) become plain values in turn.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


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
