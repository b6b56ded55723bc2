"""DATA by its name alone: what kind it is of, and whether its path is there; nothing is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from speechft.core.errors import DataError
from speechft.core.nearest_names import nearest
from speechft.core.paths import home_expanded

DEFAULT_PRESET: Final = "demo"  # of synthetic speech
_NAME: Final = re.compile(r"[A-Za-z]\w+")  # a single letter is a drive


def is_synthetic(data: str | Mapping[str, str]) -> bool:
    """Tell whether DATA, or one of the DATA of several tasks, means speech that is made here.

    A file or folder that is there is none, whatever its name.
    """
    if isinstance(data, Mapping):
        return any(is_synthetic(one) for one in data.values())
    return data.partition(":")[0] == "synthetic" and not Path(data).exists()


def root_and_variant(rest: str) -> tuple[Path, str]:
    """Read `ROOT` or `ROOT@VARIANT`; a folder with an @ in its own path is taken as it is."""
    before, sign, variant = rest.rpartition("@")
    if not sign or "/" in variant or home_expanded(rest).exists():
        return home_expanded(rest), ""
    return home_expanded(before), variant


def named_kind(spec: str) -> tuple[str, str]:
    """Give NAME and the rest of `NAME:REST`; no name where it is a path, such as a drive's."""
    name, sign, rest = spec.partition(":")
    if not sign or not _NAME.fullmatch(name) or home_expanded(spec).exists():
        return "", spec
    return name, rest


def there(path: Path, spec: str) -> Path:
    """Give the path of a file or folder; one with backslashes may be Windows' way to write it.

    Raises:
        DataError: there is none; the nearest beside it is named.
    """
    for place in (path, Path(str(path).replace("\\", "/"))):
        if place.is_file() or place.is_dir():
            return place
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    raise DataError(
        "this is neither a file nor a folder" if path.exists() else "no such data",
        where=spec,
        expected="a table, lhotse cuts, NAME:ROOT for a corpus or a kind of table, or synthetic",
        hint=f"did you mean {' or '.join(map(repr, close))}?" if close else "check the path",
    )


def is_there(data: str) -> bool:
    """Tell whether what is no synthetic speech is a file or folder."""
    return is_synthetic(data) or home_expanded(data).exists()


def lies_ready(data: str) -> bool:
    """Tell whether DATA can be read without being made or scanned, or be found wrong at once."""
    from speechft.data.synthetic.corpus import corpus_folder
    from speechft.data.synthetic.settings import PRESETS

    if not is_synthetic(data):
        return is_there(data) or ":" not in data or _holds_nothing(data)
    preset = data.partition(":")[2].partition("@")[0] or DEFAULT_PRESET
    return preset not in PRESETS or corpus_folder(PRESETS[preset]).is_dir()


def _holds_nothing(data: str) -> bool:
    """Tell whether the root of a corpus is not there, or an empty folder."""
    root, _ = root_and_variant(data.partition(":")[2])
    return not root.exists() or (root.is_dir() and not any(root.iterdir()))


def refuse_absent_data(spec: str) -> None:
    """Look for a table, cuts or a folder; what has a name of its own is found by its reader.

    Raises:
        DataError: nothing is there.
    """
    name, rest = named_kind(spec)
    if not name and rest.strip() and not is_synthetic(spec):
        there(home_expanded(spec), spec)


def noise_data(spec: str) -> str:
    """Give the DATA that a name of noise means: a folder is one of audio files."""
    plain = not named_kind(spec)[0] and home_expanded(spec).is_dir()
    return f"audiofolder:{spec}" if plain else spec
