"""A lock's file was removed when the lock was given back: whoever waited held a nameless file.

The next one made a new file and held that, so that two processes did the same work at once. And a
file of another process' set-up was removed, though that process was alive.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from speechft.core.locks import lock_if_free


def test_whoever_gives_a_lock_back_leaves_nobody_with_another_file(tmp_path: Path) -> None:
    """The file of the lock stays the same: two processes never hold one lock by two files."""
    path = tmp_path / ".lock"
    with lock_if_free(path):
        before = path.stat().st_ino
    with lock_if_free(path) as free:
        assert free
        assert path.stat().st_ino == before


def test_whoever_opened_the_file_before_is_no_second_holder(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with lock_if_free(path):
        early = path.open("a")  # opened while another one holds it, as in the race
    with early, lock_if_free(path) as free:
        assert free
        with pytest.raises(BlockingIOError):
            fcntl.flock(early, fcntl.LOCK_EX | fcntl.LOCK_NB)
