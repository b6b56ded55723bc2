"""Names that are found when they are used: in registries, and in modules that are imported then.

A registry is filled by one line for each name; a second one of a name is refused, and a miss names
the nearest.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Generic, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A read-only mapping from names to objects, filled by a decorator.

    Args:
        kind: what is registered, for messages ("task", "merge method").
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Give a decorator that adds its object under `name`.

        Raises:
            ValueError: the name is taken (a programming mistake, hence no user error).
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        """Give the entry, or raise `SettingsError` with the nearest names."""
        try:
            return self._entries[name]
        except KeyError:
            raise SettingsError(
                f"unknown {self.kind} {name!r}",
                hint=did_you_mean(name, self._entries),
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def import_modules(package: str, path: Iterable[str]) -> None:
    """Import every module of a package, so that what they register is there.

    Args:
        package: its name.
        path: its `__path__`.
    """
    for found in pkgutil.iter_modules(path):
        import_module(f"{package}.{found.name}")


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


def deferred(name: str) -> ModuleType:
    """Give a module that is imported when something of it is first used, as a slow one should be.

    Args:
        name: of the module, such as `torch.nn.functional`.
    """
    return _Deferred(name)


class _Deferred(ModuleType):
    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self.__name__), name)
        setattr(self, name, value)
        return value
