"""Progress of a merge: bytes done, throughput, time left."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self


class Meter:
    """Counts bytes from any thread; shows a bar where standard error is a terminal.

    Args:
        title: what is being done.
        total: bytes in all.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._start = self._end = 0.0
        self._bar: Any = None
        self._task: Any = None

    def add(self, nbytes: int) -> None:
        """Count bytes that are written."""
        with self._lock:
            self._done += nbytes
            if self._bar is not None:
                note = f"MB  {self._rate():.0f} MB/s"
                self._bar.update(self._task, completed=self._done // 10**6, note=note)

    def summary(self) -> str:
        """Give size, time and throughput in words."""
        seconds = (self._end or time.perf_counter()) - self._start
        return f"{self._done / 1e6:.1f} MB in {seconds:.2f} s, {self._rate():.0f} MB/s"

    def _rate(self) -> float:
        seconds = (self._end or time.perf_counter()) - self._start
        return self._done / 1e6 / max(seconds, 1e-9)

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        if sys.stderr.isatty():
            from speechft.core.logging import progress_bar

            self._bar = progress_bar()
            self._task = self._bar.add_task(self._title, total=self._total // 10**6, note="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end = time.perf_counter()
        if self._bar is not None:
            self._bar.stop()
