"""Worker processes on this machine behind the interface of `concurrent.futures`.

Every worker is an executor of loky's with one process, so that a process that dies takes no other
work with it. loky starts fresh interpreters that do not import the caller's script, which
therefore needs no `__main__` guard, and results come back through a pipe of their own, so that
whatever a library prints disturbs nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from multiprocessing import resource_tracker as python_tracker
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Final, TypeVar

from joblib.externals.loky.backend import resource_tracker
from joblib.externals.loky.process_executor import (
    BrokenProcessPool,
    ProcessPoolExecutor,
    TerminatedWorkerError,
)

from speechft.core.errors import SpeechFTError
from speechft.core.logging import get_logger
from speechft.core.stopping import Stopped

T = TypeVar("T")
_LOOK_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 10.0
"""What work that is stopped has to keep its state; all that keeps none ends at once."""
_NO_MEMORY: Final = (
    "the system does this where there is not enough memory: use fewer workers, or lower the "
    "seconds of a batch"
)
SHARING: Final = "SPEECHFT_WORKERS_SHARING"
"""In a worker's environment: how many workers have its GPU, or where there is none its machine."""
_DEATHS: Final = (TerminatedWorkerError, Stopped)
log = get_logger(__name__)


class WorkerDiedError(SpeechFTError):
    """A worker process ended in the middle of its work, and so did the one that tried it again."""


class LocalExecutor(Executor):
    """Several worker processes, each with one piece of work at a time.

    Work whose process dies (a crash, no memory, a signal) is tried once more in a new process; then
    its future raises `WorkerDiedError`. A worker ends with the process that started it, whatever it
    is doing. An exception that leaves the executor's `with` block stops all workers: they get a
    SIGTERM, for which training keeps its state, and are killed some seconds later. Ctrl-C is for
    the process that started them.

    Args:
        environments: one for every worker: what is set in its environment, such as its GPU.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.workers = len(environments)
        # A worker that holds much more memory than at first is replaced between two pieces of work.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        _start_tracker()
        gpus = [environment.get("CUDA_VISIBLE_DEVICES") for environment in environments]
        self._slots = [
            _Slot({**environment, SHARING: str(gpus.count(gpu))})
            for environment, gpu in zip(environments, gpus, strict=True)
        ]
        self._idle: SimpleQueue[_Slot] = SimpleQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(
            self.workers, thread_name_prefix="worker", initializer=_block, initargs=(True,)
        )
        self._futures: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let a worker call a function of an importable module; arguments must be picklable."""
        future = self._threads.submit(self._do, partial(fn, *args, **kwargs))
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end when their work is done."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        for slot in self._slots:
            slot.close()

    def kill(self) -> None:
        """Stop all workers within seconds; what waits is cancelled."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        try:
            for slot in self._slots:
                slot.stop()
            wait([one for one in self._futures.copy() if one.running()], _LAST_SECONDS)
        finally:
            for slot in self._slots:
                slot.close(kill=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.kill()
        self.shutdown()

    def _do(self, call: Callable[[], T]) -> T:
        slot = self._idle.get()
        try:
            return slot.do(call)
        finally:
            self._idle.put(slot)


class _Slot:
    """One worker process, and the next one where it dies."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False

    def do(self, call: Callable[[], T]) -> T:
        try:
            return self._try(call)
        except _DEATHS:
            if not self._closed:
                log.info("a worker process died; its work is tried once more")
        try:
            return self._try(call)
        except _DEATHS as error:
            code = re.search(r"\{(.*)\}", str(error))
            how = f" ({code[1]})" if code else ""
            raise WorkerDiedError(
                f"the process died{how}, and so it did when tried again",
                hint=_NO_MEMORY if "SIGKILL" in how else None,
            ) from None

    def stop(self) -> None:
        """Ask the process to end, and start no other one."""
        with self._lock:
            self._closed = True
            for number in list(self._pool._processes or ()) if self._pool else ():
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGTERM)

    def close(self, *, kill: bool = False) -> None:
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=kill)

    def _try(self, call: Callable[[], T]) -> T:
        with self._lock:
            if self._closed:
                raise RuntimeError("the workers have been stopped")
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    1, env=self._environment, initializer=_begin, initargs=(os.getpid(),)
                )
            future = self._pool.submit(call)
        try:
            result: T = future.result()
        except BrokenProcessPool:
            self._pool = None
            raise
        return result


def _start_tracker() -> None:
    """Start the processes that remove what a killed one leaves, which is no news for people.

    Python's own is started now since it lets Ctrl-C through to the thread that starts it.
    """
    quiet = "ignore:resource_tracker:UserWarning"
    sys.warnoptions.append(quiet)  # a new interpreter is given these
    try:
        resource_tracker.ensure_running()
        python_tracker.ensure_running()
    finally:
        sys.warnoptions.remove(quiet)


def may_start_processes() -> bool:
    """Say whether this process may have workers of its own; those of other programs may not."""
    return not multiprocessing.current_process().daemon


def _block(on: bool) -> None:
    """Keep Ctrl-C from this thread, and from processes that it starts, or let it through."""
    signal.pthread_sigmask(signal.SIG_BLOCK if on else signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin(parent: int) -> None:
    """Prepare a worker: it leaves Ctrl-C to its parent, ends with it, and prints to its errors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    _block(False)  # it came blocked, so that Ctrl-C could not meet the start of this process
    os.dup2(2, 1)  # standard output is for the parent's results, whoever writes to it
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process as soon as it has another parent, as an orphan has at once."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
