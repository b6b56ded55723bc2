"""Jobs done one after another or beside each other; a failure stops only what needs the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path

from speechft.core.errors import SpeechFTError
from speechft.core.files import write_json
from speechft.core.logging import get_logger
from speechft.pipeline.do_job import Answer, as_error, do_apart, do_here, order_for, render
from speechft.pipeline.graph import DIVERGED, GUARD, Job, log_of, note_of
from speechft.pipeline.launchers import Workers
from speechft.pipeline.time_left import Pace

_SHOWN = 8
log = get_logger(__name__)


@dataclass
class Outcome:
    """What came of jobs that are not done.

    Attributes:
        diverged: jobs whose training came to no numbers, and those that need one.
        failed: job → what went wrong, as plain values.
        skipped: jobs that need one that failed.
    """

    diverged: list[Job] = field(default_factory=list)
    failed: list[tuple[Job, Answer]] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)

    @property
    def lost(self) -> set[Path]:
        """Folders of what has failed, and of what needs it."""
        return {job.folder for job, _ in self.failed} | {job.folder for job in self.skipped}


class Crew:
    """Does jobs.

    Args:
        workers: does them in other processes; none to do them here.
        threads: of each process.
        replace: whether jobs take the place of what other settings have left in their folders.
        note: told of every job that begins here or ends.
        here: verbs that are done in this process in any case.
        divergence: whether it is a result that a training diverges, and no failure.

    Attributes:
        outcome: what came of all jobs so far.
    """

    def __init__(
        self,
        workers: Workers | None,
        *,
        threads: int = 1,
        replace: Callable[[Job], bool] = lambda _: True,
        note: Callable[[str], None] = log.info,
        here: Collection[str] = (),
        divergence: bool = False,
    ) -> None:
        self.outcome = Outcome()
        self._divergence = divergence
        self._workers, self._threads, self._here = workers, threads, here
        self._replace, self._note = replace, note
        self._running: dict[Future[Answer], Job] = {}
        self._pace = Pace(1 if workers is None else workers.workers)

    def do(self, wanted: Sequence[Job], spare: Sequence[Job] = ()) -> None:
        """Do what is missing, and come back when it has ended.

        Args:
            wanted: what is to be done, parents first.
            spare: what is begun where one would have to wait for the last of it; it goes on behind
                this call.
        """
        busy = {job.folder for job in self._running.values()}
        gone = self.outcome.lost | {job.folder for job in self.outcome.diverged}
        waiting = {j.folder: j for j in (*wanted, *spare) if j.folder not in busy | gone}
        self._wanted = {job.folder for job in wanted} - gone
        self._give_up(waiting)
        self._total = len(self._left(waiting))
        while self._left(waiting):
            for job in list(self._ready(waiting)):
                self._begin(waiting.pop(job.folder))
            own = next(self._ready(waiting, here=True), None)
            if own is not None:
                del waiting[own.folder]
                self._do_here(own, waiting)
            elif self._running:
                ended, _ = wait(self._running, return_when=FIRST_COMPLETED)
                for future in ended:
                    self._end(self._running.pop(future), _answer(future), waiting)

    def _left(self, waiting: Mapping[Path, Job]) -> list[Job]:
        every = {**waiting, **{job.folder: job for job in self._running.values()}}
        return [job for folder, job in every.items() if folder in self._wanted]

    def _ready(self, waiting: Mapping[Path, Job], *, here: bool = False) -> Iterator[Job]:
        """Give what can be begun, as much as there are workers for; what is wanted comes first."""
        busy = {job.folder for job in self._running.values()}
        free = 0 if self._workers is None else self._workers.workers - len(busy)
        for job in waiting.values():
            own = self._workers is None or job.verb in self._here
            if own is not here or not (here or free > 0):
                continue
            if not any(parent in waiting or parent in busy for parent in job.parents):
                free -= 1
                yield job

    def _begin(self, job: Job) -> None:
        assert self._workers is not None  # else nothing is ready for others
        self._pace.begin(job)
        order = order_for(job, replace=self._replace(job))
        self._running[self._workers.submit(do_apart, order, self._threads)] = job

    def _do_here(self, job: Job, waiting: dict[Path, Job]) -> None:
        self._note(f"{self._place(job, waiting)} {job.name}")
        self._pace.begin(job)
        self._end(job, do_here(order_for(job, replace=self._replace(job))), waiting, quiet=True)

    def _end(
        self, job: Job, answer: Answer, waiting: dict[Path, Job], *, quiet: bool = False
    ) -> None:
        """Take note of a job's end."""
        self._pace.end(job, not answer)
        how = ""
        if answer.get("diverged") and self._divergence:
            note = {"key": job.key, DIVERGED: render(answer["error"]), GUARD: job.guard}
            write_json(note_of(job.folder), note)
            self._diverges(job)
            how = " diverged"
        elif answer:
            self.outcome.failed.append((job, answer["error"]))
            how = f" FAILED: {render(answer['error'])}"
        self._give_up(waiting)
        if not quiet:
            time_left = self._pace.left(self._left(waiting))
            self._note(f"{self._place(job, waiting)} {job.verb} {job.name}{how}{time_left}")

    def _place(self, job: Job, waiting: Mapping[Path, Job]) -> str:
        number = self._total - len(self._left(waiting))
        return f"[{number}/{self._total}]" if job.folder in self._wanted else "[ahead]"

    def _diverges(self, job: Job) -> None:
        log.warning("no result for %s %s, whose training diverged", job.verb, job.name)
        self.outcome.diverged.append(job)

    def _give_up(self, waiting: dict[Path, Job]) -> None:
        """Give up what needs a job that failed or diverged; parents come before who needs them."""
        for folder, job in list(waiting.items()):
            if {one.folder for one in self.outcome.diverged} & set(job.parents):
                self._diverges(waiting.pop(folder))
            elif self.outcome.lost & set(job.parents):
                self.outcome.skipped.append(waiting.pop(folder))


def _answer(future: Future[Answer]) -> Answer:
    """Give what came of a job; whatever ended its process is an error of it."""
    try:
        return future.result()
    except Exception as error:  # of the process, the cluster or the disk; it stops no other job
        return {"error": {"crash": f"{type(error).__name__}: {error}"}}


def raise_failures(outcome: Outcome, root: Path, jobs: str) -> None:
    """Raise one error for all jobs that failed; nothing where there are none.

    Args:
        outcome: of the jobs.
        root: their folder.
        jobs: what they are called ("jobs of the study").

    Raises:
        SpeechFTError: the only one that failed, or one that names all.
        RuntimeError: the only one, if it is nobody's mistake.
    """
    if not outcome.failed:
        return
    job, first = outcome.failed[0]
    if len(outcome.failed) == 1 and not log_of(job.folder).is_file():
        raise as_error(first)
    lines = [f"{job.verb} {job.name}: {_flat(render(e))}" for job, e in outcome.failed[:_SHOWN]]
    count = len(outcome.failed)
    more = f"; {count - _SHOWN} more" if count > _SHOWN else ""
    waiting = f"; {len(outcome.skipped)} that need them were left" if outcome.skipped else ""
    raise SpeechFTError(
        f"{count} {jobs if count > 1 else jobs.replace('s ', ' ', 1)} failed",
        where=root,
        found="\n    " + "\n    ".join(lines) + more + waiting,
        hint=f"see {log_of(job.folder)}, mend the cause and call it again: what is done is kept",
    )


def _flat(text: str) -> str:
    return "; ".join(" ".join(line.split()) for line in text.splitlines())
