"""Looking for a corpus' tree, with errors that say what is missing and where to get it."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from speechft.core.errors import DataError
from speechft.core.nearest_names import nearest

# Folders looked at for a suggestion: corpora have thousands of speakers' folders.
_LOOKED_AT = 300
_SHOWN = 6


Finder = Callable[[Path, str], Path]
"""Gives the folder that holds a corpus, by the root and the variant."""


def tree(names: Sequence[str], parts: Sequence[str], filled: Sequence[str]) -> Finder:
    """Give a finder by `find_root`; arguments as there, and of `refuse_unfilled`."""

    def find(root: Path, _variant: str) -> Path:
        return refuse_unfilled(find_root(root, names, parts), filled)

    return find


def refuse_unfilled(base: Path, patterns: Sequence[str]) -> Path:
    """Look for a file of each kind, and for no more than one: folders alone are no corpus.

    Args:
        base: the folder that holds the corpus.
        patterns: `dev/*.wav`; names that begin with a dot do not count.

    Returns:
        `base`.

    Raises:
        DataError: names the kinds of which there is none.
    """
    lost = [p for p in patterns if not any(not f.name.startswith(".") for f in base.glob(p))]
    if lost:
        raise DataError(
            "the corpus is not complete",
            where=base,
            expected=_some(patterns, ", "),
            found=f"no file {_some(lost, ', no file ')}",
        )
    return base


def find_root(root: Path, names: Sequence[str], parts: Sequence[str]) -> Path:
    """Give the folder that holds a corpus: `root` itself or one of `names` below it.

    Args:
        root: what the user gave.
        names: names that the corpus' own folder usually has.
        parts: files or folders that must be there.

    Raises:
        DataError: names every part that is missing, and the folder above or below that has all.
    """
    places = [root, *(root / name for name in names)]
    missing = {place: [part for part in parts if not (place / part).exists()] for place in places}
    best = min(places, key=lambda place: len(missing[place]))
    if missing[best]:
        raise DataError(
            "the corpus is not complete",
            where=best,
            expected=_some(parts, ", "),
            found=f"no {_some(missing[best], ', no ')}{describe(best)}",
            hint=_suggest(root, lambda place: all((place / p).exists() for p in parts)),
        )
    return best


def not_here(
    name: str, expected: str, root: Path, fits: Callable[[Path], bool], where: Path | None = None
) -> DataError:
    """Make the error of a root that holds no corpus `name`; it names a folder nearby that fits."""
    return DataError(
        f"no {name} here",
        where=where or root,
        expected=expected,
        found=describe(where or root).removeprefix("; ") or None,
        hint=_suggest(root, fits),
    )


def not_all(what: str, found: int, expected: int) -> list[str]:
    """Give a note where a corpus has another number of `what` than it should."""
    return [] if found == expected else [f"{what}, the whole corpus has {expected}"]


def _suggest(root: Path, fits: Callable[[Path], bool]) -> str | None:
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


def read_lines(path: Path, encoding_errors: str = "strict") -> list[tuple[int, str]]:
    """Give the lines of a text that are not blank, each with its number.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8", errors=encoding_errors)
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    # Only these end a line; `splitlines` knows others, which occur within texts.
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def read_rows(
    table: Path,
    columns: Sequence[str],
    problems: list[str],
    *,
    delimiter: str = ",",
    quoted: bool = True,
) -> list[tuple[int, dict[str, str]]]:
    """Give the rows of a corpus' table, each with its number; rows cut short are problems.

    Args:
        table: UTF-8 with a header.
        columns: that must be there.
        problems: is added to.
        delimiter: between fields.
        quoted: whether quotation marks enclose fields.

    Raises:
        DataError: the table cannot be read, lacks a column or has no rows.
    """
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter, quoting=quoting)
            header = list(reader.fieldnames or ())
            rows = list(enumerate(reader, start=2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(table, error) from None
    missing = [name for name in columns if name not in header]
    if missing or not rows:
        raise DataError(
            f"the table has no column {missing[0]!r}" if missing else "the table has no rows",
            where=table,
            expected=", ".join(columns),
            found=", ".join(header) or "nothing",
        )
    whole = []
    for number, row in rows:
        if any(row[name] is None for name in columns):
            problems.append(f"{table.name}, row {number}: it has fewer fields than the header")
        else:
            whole.append((number, row))
    return whole


def _unreadable(path: Path, error: Exception) -> DataError:
    what = "a text of the corpus cannot be read"
    return DataError(what, where=path, expected="UTF-8 text", found=error, hint="get it again")


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
