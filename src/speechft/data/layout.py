"""Looking for a corpus' tree, with errors that say what is missing and where to get it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.nearest import nearest

# Folders looked at for a suggestion: corpora have thousands of speakers' folders.
_LOOKED_AT = 300
_SHOWN = 6


def find_root(root: Path, names: Sequence[str], parts: Sequence[str], hint: str) -> Path:
    """Give the folder that holds a corpus: `root` itself or one of `names` below it.

    Args:
        root: what the user gave.
        names: names that the corpus' own folder usually has.
        parts: files or folders that must be there.
        hint: where to get the corpus.

    Raises:
        DataError: names every part that is missing, and the folder above or below that has all.
    """
    if not root.is_dir():
        raise no_folder(root, hint)
    places = [root, *(root / name for name in names)]
    missing = {place: [part for part in parts if not (place / part).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise DataError(
            "the corpus is not complete",
            where=best,
            expected=_some(parts, ", "),
            found=f"no {_some(missing[best], ', no ')}{describe(best)}",
            hint=suggest_root(root, lambda place: all((place / p).exists() for p in parts)) or hint,
        )
    return best


def suggest_root(root: Path, fits: Callable[[Path], bool]) -> str | None:
    """Give a hint that names the folder above or below `root` that fits, if there is one."""
    absolute = root.resolve()
    for place in (*list(absolute.parents)[:3], *islice(_below(absolute, 2), _LOOKED_AT)):
        if fits(place):
            return f"did you mean {place}? it has everything that is expected"
    return None


def no_folder(root: Path, hint: str) -> DataError:
    """Make the error of a root that is not there, with the nearest name beside it."""
    try:
        beside = [entry.name for entry in root.parent.iterdir() if entry.is_dir()]
    except OSError:
        beside = []
    close = [str(root.parent / name) for name in nearest(root.name, beside)]
    text = f"did you mean {' or '.join(close)}? otherwise {hint}" if close else hint
    what = "this is a file, not a folder" if root.is_file() else "no such folder"
    return DataError(what, where=root, hint=text)


def describe(folder: Path) -> str:
    """Say what a folder holds, for a message: an empty one is a frequent mistake."""
    try:
        inside = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return ""
    if not inside:
        return "; the folder is empty"
    return f"; there are {_some(inside, ', ')}"


def _some(names: Sequence[str], sign: str) -> str:
    """Join names; of many, the first ones."""
    rest = len(names) - _SHOWN
    return sign.join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Give the folders below, level by level."""
    try:
        inside = [entry for entry in sorted(folder.iterdir()) if entry.is_dir()]
    except OSError:
        return
    yield from inside
    if depth > 1:
        for entry in inside:
            yield from _below(entry, depth - 1)
