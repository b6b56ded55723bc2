"""Tables as other tools write them: `DIALECT:PATH`, or guessed where files or columns are plain.

A dialect is one function in a module here, registered under its name, which gives the rows of a
place, with columns called as in a table of one's own. A folder of several places has one per split.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.registry import Registry, import_modules
from speechft.data.corpus_tree import describe
from speechft.data.split_names import split_named
from speechft.data.table_columns import Table, load_tables
from speechft.data.table_files import Row
from speechft.data.utterances import Loaded

Reader = Callable[[Path, list[str]], Iterable[Row]]


@dataclass(frozen=True)
class Dialect:
    """A kind of table.

    Attributes:
        read: takes a place, and notes to add to.
        fits: tells whether a file or folder is such a place, without reading all of it.
        layout: what a place holds, for messages.
        splits: the only names, without ending, that count in a folder; any if empty.
        anywhere: any folder may be one, where the dialect is named.
    """

    read: Reader
    fits: Callable[[Path], bool]
    layout: str
    splits: Collection[str] = ()
    anywhere: bool = False

    def places(self, path: Path) -> list[Path]:
        """Give the places at a path: itself, or those that its folder holds."""
        if self.fits(path):
            return [path]
        inside = sorted(path.iterdir()) if path.is_dir() else []
        inside = [p for p in inside if not self.splits or p.stem in self.splits]
        return [place for place in inside if self.fits(place)]


DIALECTS: Registry[Dialect] = Registry("kind of table")


def register(name: str, about: Callable[..., Dialect]) -> Callable[[Reader], Reader]:
    """Give a decorator that registers a dialect's reader; `about` is `partial(Dialect, …)`."""

    def add(read: Reader) -> Reader:
        DIALECTS.register(name)(about(read=read))
        return read

    return add


def dialects() -> Registry[Dialect]:
    """Give all dialects by name; that of one's own tables is the last."""
    import_modules(__name__, __path__)
    return DIALECTS


def read_dialect(name: str, path: Path, seed: int = 0) -> Loaded:
    """Read what is at a path as a named dialect.

    Args:
        name: of the dialect.
        path: a file or folder.
        seed: of the split where none is said.

    Raises:
        DataError: it is none of this dialect, or broken.
    """
    dialect = dialects()[name]
    places = dialect.places(path)
    if not places and not (dialect.anywhere and path.is_dir()):
        other = guess(path)
        raise DataError(
            f"this is not {name}",
            where=path,
            expected=dialect.layout,
            found=describe(path).removeprefix("; ") or None,
            hint=f"did you mean {other}:{path}?" if other else "check the path",
        )
    return _load(dialect, places or [path], [], seed)


def guess(path: Path) -> str | None:
    """Give the name of the dialect of a file or folder; None where there is none."""
    return next((name for name, dialect in dialects().items() if dialect.places(path)), None)


def read_guessed(path: Path, seed: int = 0) -> Loaded | None:
    """Read a file or folder as what it looks like, and say so; None where that is nothing."""
    name = guess(path)
    if name is None:
        return None
    dialect = dialects()[name]
    notes = [] if name == "table" else [f"read as {name}: {dialect.layout}"]
    return _load(dialect, dialect.places(path), notes, seed)


def _load(dialect: Dialect, places: Iterable[Path], notes: list[str], seed: int) -> Loaded:
    tables = [Table(place, list(dialect.read(place, notes)), _split_of(place)) for place in places]
    if len(tables) == 1:
        tables = [Table(tables[0].place, tables[0].rows)]
    return load_tables(tables, notes, seed)


def _split_of(place: Path) -> str:
    """Give the split that a place is named after: "train_manifest.json" is train."""
    name = place.name if place.is_dir() else place.stem
    for word in ("manifest", "metadata"):
        name = name.removeprefix(word).removesuffix(word).strip("_-.") or name
    return split_named(name)
