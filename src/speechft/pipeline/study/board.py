"""Who does what: jobs that wait, jobs under way, and what came of those that have ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from speechft.core.logging import get_logger
from speechft.pipeline.study.jobs import Job
from speechft.pipeline.study.pace import Pace

log = get_logger(__name__)


@dataclass
class Outcome:
    """What came of jobs that were not done.

    Attributes:
        diverged: jobs whose training came to no numbers, and those that need one.
        failed: job → why it failed.
        skipped: jobs that need one that failed.
    """

    diverged: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, str]] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)


class Board:
    """Hands out jobs to threads, those that are wanted first.

    Args:
        note: told of every job that ends.
        workers: threads that will ask for jobs.
    """

    def __init__(self, note: Callable[[str], None], workers: int = 1) -> None:
        self.outcome = Outcome()
        self.lost: set[Path] = set()  # folders of what has failed, and of what needs it
        self._note = note
        self._waiting: dict[Path, Job] = {}
        self._busy: dict[Path, Job] = {}
        self._wanted: set[Path] = set()
        self._whole: dict[Path, Path] = {}  # of a job that comes of another one as its part
        self._total = 0
        self._pace = Pace(workers)
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, wanted: Sequence[Job], spare: Sequence[Job] = ()) -> None:
        """Take the place of what still waits.

        Args:
            wanted: what is to be done, parents first.
            spare: for those who would have to wait for the last of it; and what one of the wanted
                jobs is a part of is done in its place.
        """
        with self._changed:
            lost = self.lost | {job.folder for job in self.outcome.diverged}
            every = [job for job in (*wanted, *spare) if job.folder not in lost and not job.done]
            wholes: dict[Path, Job] = {}
            for job in every:
                if job.part is not None:
                    wholes.setdefault(job.part.folder, job)
            self._whole = {part: job.folder for part, job in wholes.items()}
            self._wanted = {job.folder for job in wanted} - lost
            self._waiting = {}
            for job in every:
                for one in (wholes.get(job.folder), job):
                    if one is not None and one.folder not in self._busy:
                        self._waiting.setdefault(one.folder, one)
            self._give_up()
            self._total = len(self._left())
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait a while for all that is wanted; say whether it has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._left(), seconds)

    def next(self) -> Job | None:
        """Give a job whose parents are done; wait for one; none when the board is closed."""
        with self._changed:
            while not self._closed:
                job = self._ready()
                if job is not None:
                    self._busy[job.folder] = self._waiting.pop(job.folder)
                    self._pace.begin(job)
                    return job
                self._changed.wait()
            return None

    def end(self, job: Job, error: str | None, diverged: bool = False) -> None:
        """Take note of a job's end."""
        with self._changed:
            if self._closed:
                return
            del self._busy[job.folder]
            self._pace.end(job, error is None)
            if error is None:
                if job.part is not None:
                    self._waiting.pop(job.part.folder, None)
            elif diverged:
                self._diverges(job)
            else:
                self.lost.add(job.folder)
                self.outcome.failed.append((job, error))
            self._give_up()
            left = self._left()
            place = f"{self._total - len(left)}/{self._total}"
            place = place if job.folder in self._wanted else "ahead"
            time_left = self._pace.left(self._done_for(left))
            how = "" if error is None else " diverged" if diverged else f" FAILED: {error}"
            self._note(f"[{place}] {job.verb} {job.name}{how}{time_left}")
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _left(self) -> set[Path]:
        return self._wanted & (self._waiting.keys() | self._busy.keys())

    def _done_for(self, wanted: set[Path]) -> list[Job]:
        """Give the jobs that what is wanted waits for: of a part the whole, where that is done."""
        jobs = {**self._waiting, **self._busy}
        folders = {w if (w := self._whole.get(f)) in jobs else f for f in wanted}
        return [jobs[folder] for folder in folders]

    def _ready(self) -> Job | None:
        """Give what can be done; the spare jobs only beside the last of what is wanted."""
        if not self._left():
            return None
        return next((job for job in self._waiting.values() if not self._must_wait(job)), None)

    def _must_wait(self, job: Job) -> bool:
        before = [*job.parents, self._whole.get(job.folder)]
        return any(one in self._waiting or one in self._busy for one in before if one is not None)

    def _diverges(self, job: Job) -> None:
        log.warning("no result for %s %s, whose training diverged", job.verb, job.name)
        self.outcome.diverged.append(job)

    def _give_up(self) -> None:
        """Give up what needs a job that failed or diverged."""
        gone = {job.folder for job in self.outcome.diverged}
        for folder, job in list(self._waiting.items()):
            if gone & set(job.parents):
                gone.add(folder)
                self._diverges(self._waiting.pop(folder))
            elif self.lost & set(job.parents):
                self.lost.add(folder)
                self.outcome.skipped.append(self._waiting.pop(folder))
