"""From inert records (omegaconf, argparse, fairseq dictionaries) to plain values."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from speechft.encoders.formats.inert import Record

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
