"""Threads that drop what has not begun where an error stops the work, Ctrl-C included."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def threads(count: int, name: str = "") -> Iterator[ThreadPoolExecutor]:
    """Give threads for the block; all that they were given is done at its end, unless it fails.

    Args:
        count: how many.
        name: of each, as far as it is the same.
    """
    with ThreadPoolExecutor(count, thread_name_prefix=name) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
