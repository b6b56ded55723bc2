"""Names of a package that are imported when they are first used, so that a command stays quick."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a package's `__getattr__` that imports a name's module when the name is first used.

    Args:
        package: `__name__` of the package.
        homes: module, as seen from the package (with a dot in front: from its parent) → names that
            it holds, with spaces between.
    """
    modules = {name: f".{home}" for home, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(modules[name], package), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
