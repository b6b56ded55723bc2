"""Jobs of SLURM's, submitted through submitit; one whose time is up goes back into the queue.

submitit lets SLURM send a signal before the time is up, and when another job takes the place. Its
handler puts the job back into the queue and ends the process at once. Here a training finishes its
update first and keeps the state of that moment, from which the job then goes on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, TypeVar

from speechft.core.artifact import hash_values
from speechft.core.errors import SettingsError
from speechft.core.extras import pip_install
from speechft.core.files import read_json, write_json
from speechft.core.logging import get_logger
from speechft.core.stopping import Stopped, ask_to_stop
from speechft.core.worker_processes import WorkerDiedError
from speechft.pipeline.cluster import ClusterExecutor

T = TypeVar("T")
# What submitit calls the same on every kind of cluster.
_COMMON: Final = frozenset(
    {"name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "timeout_min"}
)
_REQUEUES: Final = "slurm_max_num_timeout"  # how often a job goes back when its time is up
_MOST_REQUEUES: Final = 20
_LOOK_SECONDS: Final = 2.0
log = get_logger(__name__)


@dataclass
class _Work:
    """Something to call, what tells it from other work, and who waits for it."""

    call: Callable[[], Any]
    name: str
    future: Future[Any]
    tries: int = 0


class SlurmExecutor(ClusterExecutor):
    """Every piece of work as a job of SLURM's, submitted through submitit.

    Jobs go on when this process is stopped, and are queued again when their time is up. Which work
    was submitted as which job is noted, so that a second process waits for a job that still runs
    instead of submitting it again.

    Args:
        folder: for submitit's files.
        options: of submitit; `cluster: local` takes processes of this machine instead, to try.

    Raises:
        SettingsError: submitit is not there, there is no SLURM, or an option is unknown.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._submitit = _submitit_executor(folder, options)
        self._note = folder / "submitted.json"
        self._new: SimpleQueue[_Work | None] = SimpleQueue()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let a job call a function of an importable module with plain arguments."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        name = hash_values([fn.__module__, fn.__qualname__, args, kwargs])
        self._new.put(_Work(partial(fn, *args, **kwargs), name, future))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for all jobs, or leave them alone."""
        self._new.put(None)
        if wait and not cancel_futures:
            self._watcher.join()

    def _watch(self) -> None:
        """Submit what comes in, several at once, and look for what has ended."""
        running: list[tuple[_Work, Any]] = []
        more = True
        while more or running:
            coming = self._coming(wait=not running)
            more = more and None not in coming
            running += self._start([work for work in coming if work is not None])
            ended = [(work, job) for work, job in running if job.done()]
            running = [pair for pair in running if pair not in ended]
            running += self._start([work for work, job in ended if not _collect(work, job)])

    def _coming(self, *, wait: bool) -> list[_Work | None]:
        found: list[_Work | None] = []
        with suppress(Empty):
            found.append(self._new.get(timeout=None if wait else _LOOK_SECONDS))
            while True:
                found.append(self._new.get_nowait())
        return found

    def _start(self, works: list[_Work]) -> list[tuple[_Work, Any]]:
        if not works:
            return []
        before = read_json(self._note) if self._note.is_file() else {}
        running = {
            w.name: job for w in works if (job := self._still_running(w, before)) is not None
        }
        todo = [work for work in works if work.name not in running]
        try:
            with self._submitit.batch() if todo else nullcontext():
                made = [self._submitit.submit(Requeued(work.call)) for work in todo]
            running |= {work.name: job for work, job in zip(todo, made, strict=True)}
            names = {work.name: running[work.name].job_id for work in works}
        except Exception as error:  # whoever waits for them must hear of it
            for work in todo:
                work.future.set_exception(error)
            return [(work, running[work.name]) for work in works if work.name in running]
        write_json(self._note, before | names)
        if todo:
            log.info("submitted %d jobs; their logs are in %s", len(todo), self._submitit.folder)
        return [(work, running[work.name]) for work in works]

    def _still_running(self, work: _Work, before: Mapping[str, str]) -> Any:
        """Give the job that an earlier call has submitted for this, if it still waits or runs."""
        if work.tries or work.name not in before:
            return None
        kind = self._submitit._executor.job_class
        job = kind(folder=self._submitit.folder, job_id=before[work.name])
        alive = not job.done(force_check=True) and str(job.state).upper() != "UNKNOWN"
        return job if alive else None


def _collect(work: _Work, job: Any) -> bool:
    """Hand a job's result on; say False where it died without one and is to be tried again."""
    from submitit.core.utils import UncompletedJobError

    try:
        work.future.set_result(job.result())
    except UncompletedJobError:
        work.tries += 1
        if work.tries == 1:
            log.info("the job %s died; its work is tried once more", job.job_id)
            return False
        died = f"the job died, again when tried again (see {job.paths.stderr})"
        work.future.set_exception(WorkerDiedError(died))
    except Exception as error:  # whatever the job raised is for whoever waits for it
        work.future.set_exception(error)
    return True


class Requeued:
    """Something to call, which may be called again in the place of a call that was stopped.

    Args:
        call: goes on, where it is called again, from what it has kept.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __call__(self) -> Any:
        """Call it; where the signal comes, stop at a good moment and leave the rest to submitit."""
        from submitit import JobEnvironment

        number = JobEnvironment._usr_sig()
        requeue: Any = signal.getsignal(number)  # submitit's handler

        def note(came: int, frame: FrameType | None) -> None:
            if not ask_to_stop(came):
                requeue(came, frame)

        signal.signal(number, note)
        try:
            return self._call()
        except Stopped as stopped:
            if stopped.exit_code == 128 + number:
                requeue(number, None)
            raise

    def checkpoint(self) -> Any:
        """Give what the job does when it is started again, as submitit asks for it."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _submitit_executor(folder: Path, options: Mapping[str, Any]) -> Any:
    try:
        import submitit
    except ImportError:
        raise SettingsError(
            "launcher slurm needs the package submitit",
            hint=pip_install("submitit"),
        ) from None
    given = {"name": "speechft", "cluster": "slurm", **options}
    own = {_REQUEUES: given.pop(_REQUEUES.removeprefix("slurm_"), _MOST_REQUEUES)}
    cluster = str(given.pop("cluster"))
    try:
        executor = submitit.AutoExecutor(
            folder=folder, cluster=cluster, **(own if cluster == "slurm" else {})
        )
        executor.update_parameters(**{_option(key): value for key, value in given.items()})
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise SettingsError(
            "the jobs cannot be submitted to SLURM",
            where="slurm",
            expected="options of submitit, such as partition, timeout_min, gpus_per_node",
            found=error,
        ) from None
    return executor


def _option(key: str) -> str:
    """Give submitit's name of an option: SLURM's own ones begin with slurm_."""
    known = key in _COMMON or key.startswith("slurm_")
    return key if known else f"slurm_{key}"
