"""Progress of a merge: bytes written, time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def count_bytes(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that counts bytes, from any thread; a bar shows them on a terminal.

    Args:
        title: what is being done.
        total: bytes in all.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from speechft.core.logging import progress_bar

    with progress_bar() as bar:
        task = bar.add_task(title, total=total / 1e6, note="MB")
        yield lambda nbytes: bar.advance(task, nbytes / 1e6)
