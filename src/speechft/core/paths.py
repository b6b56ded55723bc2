"""Paths that users and files name: kept below their folder, writable, with nothing in the way."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.limits import NAME_BYTES

_NO_PLACE: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    errno.ENAMETOOLONG,
)
_WRITING: Final = re.compile(r"\..*speechft-.*\.tmp")  # what `core.files` writes beside its place


@contextmanager
def said_place(where: Path, hint: str, further: Collection[int] = ()) -> Iterator[None]:
    """Turn a place where nothing can be written into a message.

    Args:
        where: the place.
        hint: what to do then.
        further: error numbers that mean it, too, for this kind of output.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (*_NO_PLACE, *further):
            raise
        raise SettingsError(
            "cannot write there", where=where, found=error.strerror, hint=hint
        ) from None


def fault_of_name(name: str, *, folders: bool = False) -> str | None:
    """Say why a name that was read may not become a path, checked as written; None if it may.

    Names of splits, shards, pictures and results come from files that others wrote. One that is an
    absolute path, or goes up, would read or write elsewhere.

    Args:
        name: as written.
        folders: whether it may name folders of its own, as in "a/b".
    """
    parts = name.replace("\\", "/").split("/")
    if not name.strip() or name.startswith("~") or any(not p or p in (".", "..") for p in parts):
        return "it leaves its folder" if name.strip() else "it is empty"
    if ":" in parts[0][1:2] or (len(parts) > 1 and not folders):
        return "it names a folder"
    if not name.isprintable():
        return "it holds signs that cannot be shown"
    if any(len(part.encode("utf-8", "surrogatepass")) > NAME_BYTES for part in parts):
        return f"it has more than {NAME_BYTES} bytes"
    return None


def path_below(
    folder: Path, name: object, what: str, error: type[SpeechFTError], where: object
) -> Path:
    """Give the path of a file that a record names, below its folder.

    Args:
        folder: of the record.
        name: as the record writes it; "a/b" may stand for a folder of its own.
        what: the name is, for the message ("a shard").
        error: raised where the name would leave the folder.
        where: what names it.

    Raises:
        SpeechFTError: `error`, see `fault_of_name`.
    """
    fault = fault_of_name(str(name), folders=True)
    if fault:
        raise error(
            f"the name of {what} cannot be used: {fault}",
            where=where,
            expected="a name below its folder, without '..'",
            found=repr(name),
        )
    return folder / str(name)


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """Give a path with the user's home for `~`; of a user that nobody knows it stays as it is."""
    return Path(os.path.expanduser(path))


def beside(folder: Path, ending: str) -> Path:
    """Give the place beside a folder that has its name with an ending; `.` has a name, too."""
    named = folder if folder.name not in ("", "..") else Path(os.path.realpath(folder))
    return named.with_name(f"{named.name}{ending}")


def in_the_way(where: Path, names: Sequence[str], expected: str, hint: str) -> SettingsError:
    """Make the error of an output whose place holds what its stage has not made.

    Args:
        where: the output.
        names: what is there.
        expected: what may be there.
        hint: what to do then.
    """
    if names and all(map(_WRITING.fullmatch, names)):
        return at_work(where)
    return SettingsError(
        "there is something else in the output's place",
        where=where,
        expected=expected,
        found=first_of(names),
        hint=hint,
    )


def at_work(where: Path) -> SettingsError:
    """Make the error of an output that another process writes at the same time."""
    return SettingsError(
        "another speechft is at work in this folder",
        where=where,
        hint="wait for it, or choose another --out",
    )


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Give the first names, with a sign where there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
