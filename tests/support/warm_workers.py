"""Worker processes that the next test uses again: a fresh one imports for five seconds of CPU.

A worker is given back when its executor ends as it should, and begins the next one's work with this
process' folder and environment as they are then, and with nothing remembered. One that died, was
stopped or was started by another process is not used again. What starting and ending processes
is about has fresh ones: the tests of `core.worker_processes`, of stopping and of killing.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from speechft.core import worker_processes

_idle: list[tuple[int, dict[str, str], Any]] = []
"""Process that started it, what its environment was given, pool of one process."""


class WarmSlot(worker_processes._Slot):
    """A worker process, which may have worked before."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment)
        self._pool = _take(self._environment)
        self._fresh = self._pool is None

    def _try(self, call: Callable[[], Any]) -> Any:
        forget, self._fresh = not self._fresh, True
        given = {**os.environ, **self._environment}
        return super()._try(partial(_here, os.getcwd(), given, forget, call))

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            if self._pool is not None and not kill and not self._closed:
                _idle.append((os.getpid(), self._environment, self._pool))
                self._pool = None
        super().close(kill=kill)


@contextmanager
def warm_workers() -> Iterator[None]:
    """Let workers be used again while the block runs."""
    with patch.object(worker_processes, "_Slot", WarmSlot):
        yield


def end_workers() -> None:
    """Let all of them end that this process has started."""
    while (pool := _take(None)) is not None:
        pool.shutdown(wait=True)


def _take(environment: Mapping[str, str] | None) -> Any:
    """Give an idle worker with that environment, or with any one, and None where there is none."""
    for entry in _idle:
        pid, given, pool = entry
        if pid != os.getpid() or environment not in (None, given):
            continue
        _idle.remove(entry)
        if all(process.is_alive() for process in (pool._processes or {}).values()):
            return pool
        return _take(environment)
    return None


def _here(
    folder: str, environment: Mapping[str, str], forget: bool, call: Callable[[], Any]
) -> Any:
    """Work as a fresh process would."""
    os.chdir(folder)
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)
    if forget:
        for one in gc.get_objects():
            if isinstance(one, functools._lru_cache_wrapper) and "speechft" in str(one.__module__):
                one.cache_clear()
    return call()
