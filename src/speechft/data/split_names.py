"""Names of splits: those that commands look for, and what others call them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from speechft.core.errors import DataError

USUAL_SPLITS: Final = ("train", "dev", "test", "pretrain")
"""What commands look for; task and language may stand before them ("sid_train")."""
_ALIASES: Final = {"valid": "dev", "validation": "dev", "val": "dev", "training": "train"}


def split_named(name: str) -> str:
    """Give the split that a name means: "Valid" is dev."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def split_of(splits: Iterable[str], wanted: str, spec: str) -> str:
    """Give the name that a split has in DATA, whatever the user calls it.

    Args:
        splits: that the data has.
        wanted: by the user.
        spec: DATA.

    Raises:
        DataError: there is no such split.
    """
    there = sorted(splits)
    for name in (wanted, split_named(wanted)):
        if name in there:
            return name
    found = ", ".join(there) or "no split"
    raise DataError(f"the data has no split {wanted!r}", where=spec, found=found)
