"""Do the jobs of a graph in several processes; one that fails stops only those that need it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from speechft.core.line_worker import LineWorker
from speechft.core.logging import get_logger
from speechft.stages.studying.jobs import Graph, Job, finish, give_up

MODULE: Final = "speechft.stages.studying.worker"
log = get_logger(__name__)


@dataclass
class Outcome:
    """What came of a graph's jobs.

    Attributes:
        done: how many were done now.
        diverged: jobs whose training came to no numbers, and those that need one.
        failed: job → why it failed.
        skipped: jobs that need one that failed.
    """

    done: int = 0
    diverged: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, str]] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)


def execute(
    graph: Graph,
    workers: int,
    threads: int,
    note: Callable[[str], None],
    lost: Collection[Path] = (),
    gpus: int = 0,
) -> Outcome:
    """Do what is missing.

    Args:
        graph: the jobs.
        workers: processes.
        threads: of each process; results depend on them in the last bits.
        note: told of every job that ends.
        lost: folders of jobs that have failed and are not tried again, nor what needs them.
        gpus: of this machine; each process sees one of them.
    """
    board = _Board(graph.open, note, lost)
    keepers = [
        threading.Thread(
            target=_keep, args=(board, threads, n % gpus if gpus else None), daemon=True
        )
        for n in range(workers)
    ]
    for keeper in keepers:
        keeper.start()
    try:
        for keeper in keepers:
            while keeper.is_alive():
                keeper.join(0.5)
    except BaseException:
        board.stop()
        raise
    return board.outcome


class _Board:
    """Who does what: jobs that wait, jobs under way, and the processes that do them."""

    def __init__(
        self, jobs: list[Job], note: Callable[[str], None], lost: Collection[Path] = ()
    ) -> None:
        self.waiting = {job.folder: job for job in jobs if job.folder not in lost}
        self.busy: dict[Path, Job] = {}
        self.lost = set(lost)
        self.outcome = Outcome()
        self.note, self.total = note, len(self.waiting)
        self.workers: list[LineWorker] = []
        self.changed = threading.Condition()
        self.stopped = False

    def next(self) -> Job | None:
        """Give a job whose parents are done; wait for one; none when nothing is left."""
        with self.changed:
            while not self.stopped:
                self._skip()
                ready = (j for j in self.waiting.values() if not self._missing(j))
                job = next(ready, None)
                if job is not None:
                    self.busy[job.folder] = self.waiting.pop(job.folder)
                    return job
                if not self.waiting:
                    return None
                self.changed.wait()
            return None

    def end(self, job: Job, error: str | None, diverged: bool = False) -> None:
        """Take note of a job's end."""
        with self.changed:
            if self.stopped:
                return
            del self.busy[job.folder]
            if error is None:
                self.outcome.done += 1
            elif diverged:
                self.outcome.diverged.append(job)
            else:
                self.lost.add(job.folder)
                self.outcome.failed.append((job, error))
            left = self.total - len(self.waiting) - len(self.busy)
            place = f"[{left}/{self.total}]"
            how = "" if error is None else " diverged" if diverged else f" FAILED: {error}"
            self.note(f"{place} {job.verb} {job.name}{how}")
            self.changed.notify_all()

    def start(self, threads: int, gpu: int | None) -> LineWorker:
        """Start a process, of which `stop` knows."""
        worker = LineWorker(MODULE, [str(threads)], threads, gpu)
        with self.changed:
            self.workers.append(worker)
            if self.stopped:
                worker.kill()
        return worker

    def stop(self) -> None:
        """Stop everything at once."""
        with self.changed:
            self.stopped = True
            for worker in self.workers:
                worker.kill()
            self.changed.notify_all()

    def _missing(self, job: Job) -> bool:
        return any(parent in self.waiting or parent in self.busy for parent in job.parents)

    def _skip(self) -> None:
        """Give up what needs a job that failed or diverged."""
        gone = {job.folder for job in self.outcome.diverged}
        for folder, job in list(self.waiting.items()):
            if gone & set(job.parents):
                gone.add(folder)
                self.outcome.diverged.append(self.waiting.pop(folder))
            elif self.lost & set(job.parents):
                self.lost.add(folder)
                self.outcome.skipped.append(self.waiting.pop(folder))


def _keep(board: _Board, threads: int, gpu: int | None) -> None:
    """Keep one process busy until nothing is left; start another if it dies."""
    worker: LineWorker | None = None
    while (job := board.next()) is not None:
        error: str | None = None
        diverged = False
        try:
            worker = worker or board.start(threads, gpu)
            answer = worker.ask(_line(job))
            if answer is None:
                code = worker.close()
                worker = None
                error = f"the process ended with exit code {code} (see {log_of(job)})"
            elif "error" in answer:
                error = str(answer["error"])
                if diverged := bool(answer.get("diverged")):
                    give_up(job, error)
            else:
                finish(job, answer["seconds"])
        except Exception as problem:
            # The disk may be full. A thread that ended here would leave the others waiting.
            log.debug("%s", job.name, exc_info=True)
            error, diverged = f"{type(problem).__name__}: {problem}", False
        board.end(job, error, diverged)
    if worker is not None:
        worker.close()


def log_of(job: Job) -> Path:
    """Give the file beside a job's folder that holds all it says."""
    return job.folder.parent / f"{job.folder.name}.log"


def _line(job: Job) -> str:
    about = {"name": job.name, "verb": job.verb, "settings": job.settings}
    return json.dumps({**about, "folder": str(job.folder)})
