"""How long the jobs that are left will take, by those of their kind that are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from statistics import fmean
from typing import Final

from speechft.core.progress import time_text
from speechft.pipeline.graph import Graph, Job

_KNOWN: Final = 0.5  # share of what is left that must be of a kind that has been seen
_SHORTEST: Final = 60.0  # seconds worth a word


class Pace:
    """A clock for the jobs of one call.

    Args:
        workers: how many jobs are done at a time.
        clock: gives seconds.
    """

    def __init__(self, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._workers, self._clock = workers, clock
        self._begun: dict[Path, float] = {}
        self._taken: dict[_Kind, list[float]] = {}

    def begin(self, job: Job) -> None:
        """Take note of a job's begin."""
        self._begun[job.folder] = self._clock()

    def end(self, job: Job, well: bool) -> None:
        """Take note of a job's end; one that went wrong says nothing of others."""
        begun = self._begun.pop(job.folder)
        if well:
            self._taken.setdefault(_kind(job), []).append(self._clock() - begun)

    def left(self, jobs: Collection[Job]) -> str:
        """Say how long the jobs that are left will take, as ", about 2 h 10 min left".

        Nothing is said while most of them are of kinds that have not been seen, nor at the end.
        """
        if not jobs or sum(_kind(job) in self._taken for job in jobs) < _KNOWN * len(jobs):
            return ""
        mean = {kind: fmean(own) for kind, own in self._taken.items()}
        now = self._clock()
        seconds = sum(
            max(0.0, _expected(job, mean) - (now - self._begun.get(job.folder, now)))
            for job in jobs
        ) / min(len(jobs), self._workers)
        if seconds < _SHORTEST:
            return ""
        return f", {time_text(seconds)} left"


def foreseen(graph: Graph, usual: Mapping[str, float]) -> dict[Path, float]:
    """Give the hours of processor time that each open job will take, parents first.

    Args:
        graph: the jobs; those that are done say how long one of their kind takes.
        usual: verb → hours, where none of the kind is done; what it does not name takes none.
    """
    taken: dict[_Kind, list[float]] = {}
    for job in graph.jobs.values():
        seconds = float(job.note.get("seconds", 0)) if graph.is_done(job) else 0.0
        if seconds:
            taken.setdefault(_kind(job), []).append(seconds / 3600)
    mean = {kind: fmean(own) for kind, own in taken.items()}
    return {job.folder: mean.get(_kind(job), usual.get(job.verb, 0.0)) for job in graph.open}


_Kind = tuple[str, int]


def _kind(job: Job) -> _Kind:
    """Tell evaluations by their tasks and fine-tunings by their updates."""
    if job.verb == "evaluate":
        return job.verb, len(getattr(job.settings, "tasks", ()))
    return job.verb, int(getattr(job.settings, "steps", 0) or 0) if job.verb == "finetune" else 0


def _expected(job: Job, mean: Mapping[_Kind, float]) -> float:
    """Give the time of the job's kind, or of the nearest: of its stage if any, else the longest."""
    verb, size = _kind(job)
    near = [kind for kind in mean if kind[0] == verb]
    return mean[min(near, key=lambda kind: abs(kind[1] - size))] if near else max(mean.values())
