"""Looking for a corpus' tree, with errors that say what is missing and where to get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speechft.core.errors import DataError


def find_root(root: Path, names: Sequence[str], parts: Sequence[str], hint: str) -> Path:
    """Give the folder that holds a corpus: `root` itself or one of `names` below it.

    Args:
        root: what the user gave.
        names: names that the corpus' own folder usually has.
        parts: files or folders that must be there.
        hint: where to get the corpus.

    Raises:
        DataError: names every part that is missing.
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root, hint=hint)
    places = [root, *(root / name for name in names)]
    missing = {place: [part for part in parts if not (place / part).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise DataError(
            "the corpus is not complete",
            where=best,
            expected=", ".join(parts),
            found=f"no {', no '.join(missing[best])}",
            hint=hint,
        )
    return best
