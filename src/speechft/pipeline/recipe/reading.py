"""Recipes as files: where they lie, what they share, what the package brings along."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.core.places import home_expanded
from speechft.core.yaml12 import read_yaml

EXTENDS: Final = "extends"


def packaged() -> dict[str, Path]:
    """Give the packaged recipes by name (`paper/asr`); a file without a `name` is none."""
    root = _root()
    paths = sorted(root.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    files = {path.relative_to(root).with_suffix("").as_posix(): path for path in paths}
    return {name: path for name, path in files.items() if "name" in read_yaml(path)}


def _root() -> Path:
    return Path(str(resources.files("speechft"))) / "recipes"


def find_recipe(recipe: Path | str) -> Path:
    """Give the file of a recipe: a path, or a packaged recipe's name.

    Raises:
        SettingsError: there is none.
    """
    path, known = home_expanded(recipe), packaged()
    if not path.is_file() and str(recipe) in known:
        return known[str(recipe)]
    if not path.exists() and not path.suffix:
        raise SettingsError(
            "no such recipe",
            where=recipe,
            expected=f"a YAML file, or one of {', '.join(known)}",
            hint=did_you_mean(str(recipe), known),
        )
    return path


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe with what it `extends`: one other file, or a list, the later the stronger.

    These are named without `.yaml`, as from the recipe's own folder or from that of the packaged
    recipes (`paper/asr`), and lie there. Mappings are joined key by key; all else that the recipe
    says takes the place of what they say.

    Raises:
        SettingsError: a file is missing, lies elsewhere, or extends itself.
    """
    return _read(path, ())


def _read(path: Path, before: tuple[Path, ...]) -> dict[str, Any]:
    if path in before:
        raise SettingsError("the recipe extends itself", where=path)
    values = read_yaml(path)
    named = values.pop(EXTENDS, [])
    found: dict[str, Any] = {}
    for name in [named] if isinstance(named, str) else named:
        found = _joined(found, _read(_extended(str(name), path), (*before, path)))
    return _joined(found, values)


def _extended(name: str, path: Path) -> Path:
    for root in (path.parent, _root()):
        other = (root / f"{name}.yaml").resolve()
        if other.is_relative_to(root.resolve()) and other.is_file():
            return other
    raise SettingsError(
        "there is no such recipe to extend",
        where=path,
        expected=f"the name of a file in {path.parent}, or of a packaged recipe, without .yaml",
        found=name,
    )


def _joined(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _joined(weak[key], value)
        for key, value in strong.items()
        if isinstance(value, Mapping) and isinstance(weak.get(key), Mapping)
    }
    return {**weak, **strong, **both}
