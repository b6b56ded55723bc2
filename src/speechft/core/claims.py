"""Pieces of work that several processes share: whoever holds a piece's lock does it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock while the block runs; give False at once where another process holds it.

    The lock ends with its process, however that ends, and leaves no file. Where the disk knows no
    locks everybody gets it, so the work must bear being done twice.

    Args:
        path: of the lock's file, which should begin with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            yield True
            return
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
