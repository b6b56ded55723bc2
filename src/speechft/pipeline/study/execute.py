"""Do jobs in several processes; one that fails stops only those that need it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from speechft.core.line_worker import LineWorker
from speechft.core.logging import get_logger
from speechft.pipeline.study.board import Board
from speechft.pipeline.study.jobs import Job, finish, give_up

MODULE: Final = "speechft.pipeline.study.worker"
log = get_logger(__name__)


class Crew:
    """Processes that do jobs, from the first call of `do` to the end of the block.

    Args:
        workers: processes.
        threads: of each process; results depend on them in the last bits.
        note: told of every job that ends.
        gpus: of this machine; each process sees one of them.

    Attributes:
        board: holds what came of the jobs.
    """

    def __init__(
        self, workers: int, threads: int, note: Callable[[str], None], gpus: int = 0
    ) -> None:
        self.board = Board(note, workers)
        self._threads = threads
        self._processes: list[LineWorker] = []
        self._lock = threading.Lock()
        self._stopped = False
        self._keepers = [
            threading.Thread(target=self._keep, args=(n % gpus if gpus else None,), daemon=True)
            for n in range(workers)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.board.close()
        if error is not None:
            self._stop()
        for keeper in self._keepers:
            if keeper.is_alive():
                keeper.join()

    def do(self, jobs: Sequence[Job], spare: Sequence[Job] = ()) -> None:
        """Do what is missing, and come back when it has ended.

        Args:
            jobs: parents first.
            spare: what a process may do instead of waiting for the last of the jobs; what it has
                begun goes on behind this call.
        """
        self.board.offer(jobs, spare)
        for keeper in self._keepers:
            if keeper.ident is None:
                keeper.start()
        while not self.board.wait(0.5):
            if not any(keeper.is_alive() for keeper in self._keepers):
                raise RuntimeError("all threads that keep a study's processes have ended")

    def _start(self, gpu: int | None) -> LineWorker:
        """Start a process, of which `_stop` knows."""
        worker = LineWorker(MODULE, [str(self._threads)], self._threads, gpu)
        with self._lock:
            self._processes.append(worker)
            if self._stopped:
                worker.kill()
        return worker

    def _stop(self) -> None:
        """Stop everything at once."""
        with self._lock:
            self._stopped = True
            for worker in self._processes:
                worker.kill()

    def _keep(self, gpu: int | None) -> None:
        """Keep one process busy until the board is closed; start another if it dies."""
        worker: LineWorker | None = None
        while (job := self.board.next()) is not None:
            error: str | None = None
            diverged = False
            try:
                worker = worker or self._start(gpu)
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
                    finish(job, answer)
            except Exception as problem:
                # The disk may be full. A thread that ended here would leave the others waiting.
                log.debug("%s", job.name, exc_info=True)
                error, diverged = f"{type(problem).__name__}: {problem}", False
            self.board.end(job, error, diverged)
        if worker is not None:
            worker.close()


def log_of(job: Job) -> Path:
    """Give the file beside a job's folder that holds all it says."""
    return job.folder.parent / f"{job.folder.name}.log"


def _line(job: Job) -> str:
    about = {"name": job.name, "verb": job.verb, "settings": job.settings}
    return json.dumps({**about, "folder": str(job.folder)})
