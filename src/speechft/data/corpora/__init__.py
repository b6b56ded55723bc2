"""Known corpora: `NAME:ROOT` reads the tree at ROOT as its publisher lays it out.

A corpus is one module here with one function, registered under its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from lhotse import CutSet

from speechft.core.registry import Registry

CORPORA: Registry[Callable[[Path], dict[str, CutSet]]] = Registry("corpus")


def corpora() -> Registry[Callable[[Path], dict[str, CutSet]]]:
    """Give all corpora by name; each takes its root and gives split → cuts."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return CORPORA
