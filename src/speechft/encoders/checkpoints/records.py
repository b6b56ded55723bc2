"""From inert records (omegaconf, argparse, fairseq dictionaries) to plain values."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from speechft.encoders.checkpoints.unpickle import Record

_DEPTH = 40


def plain(value: Any, depth: int = 0) -> Any:
    """Give plain dicts, lists, numbers and text; what has no plain form becomes None.

    omegaconf keeps its content under `_content` and `_val`, a namespace its attributes as they
    are, a fairseq dictionary its words under `symbols`, an enumeration its value as argument.
    """
    if depth > _DEPTH or isinstance(value, Tensor):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, dict):
        return {_key(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, Record):
        for name in ("_content", "_val", "symbols"):
            if name in value.state:
                return plain(value.state[name], depth + 1)
        if value.class_name.startswith("argparse.") or not value.args:
            return plain(value.state, depth + 1)
        return plain(value.args[0], depth + 1)
    return None


def _key(key: Any) -> Any:
    return key if isinstance(key, str | int | float | bool) else str(key)
