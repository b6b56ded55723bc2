"""Locks: who is at work in a folder, and waiting until nobody else is.

A lock ends with its process, however that ends. Its file stays: to remove a file that others may
be about to lock would give the lock two holders.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from speechft.core.files import remove_leftovers
from speechft.core.paths import at_work, said_place

LOCK: Final = ".lock"


@contextmanager
def lock_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock while the block runs; give False at once where another process holds it.

    Where the disk knows no locks, a file that marks the holder takes their place.

    Args:
        path: of the lock's file, which should begin with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs; wait where another process holds it.

    Args:
        path: of the lock's file, which should begin with a dot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def work_alone(folder: Path) -> Iterator[None]:
    """Keep every other process out of a folder while the block runs; end what killed ones left.

    A folder that is made for it and stays empty, since the work failed, goes again.

    Raises:
        SettingsError: another process is at work there, or the folder cannot be made.
    """
    is_new = not folder.exists()
    with said_place(folder, "choose another --out", (errno.EEXIST, errno.ELOOP)):
        folder = Path(os.path.realpath(folder))  # a link may lead to what is not there yet
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    with lock_if_free(folder / LOCK) as free:
        if not free:
            raise at_work(folder)
        try:
            remove_leftovers(folder)
            yield
        finally:
            if is_new and [path.name for path in folder.iterdir()] == [LOCK]:
                shutil.rmtree(folder)
