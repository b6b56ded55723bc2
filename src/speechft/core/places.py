"""Places to write to: what is in the way, and errors of the file system that another one mends."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from speechft.core.errors import SettingsError

_NO_PLACE: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    errno.ENAMETOOLONG,
)


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


def first_of(names: Sequence[str], most: int = 5) -> str:
    """Give the first names, with a sign where there are more."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
