"""How long jobs take, and how long those that are left will."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import fmean
from typing import Final

from speechft.stages.studying.jobs import Job

_KNOWN: Final = 0.5  # share of what is left that must be of a kind that has been seen
_SHORTEST: Final = 60.0  # seconds worth a word


class Pace:
    """A clock for the jobs of one call.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[Path, float] = {}
        self._taken: dict[tuple[str, int], list[float]] = {}
        self._most = 0

    def begin(self, job: Job) -> None:
        """Take note of a job's begin."""
        self._begun[job.folder] = self._clock()
        self._most = max(self._most, len(self._begun))

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
        usual = fmean(mean.values())
        now = self._clock()
        seconds = sum(
            max(0.0, mean.get(_kind(job), usual) - (now - self._begun.get(job.folder, now)))
            for job in jobs
        ) / min(len(jobs), self._most)
        if seconds < _SHORTEST:
            return ""
        hours, minutes = divmod(round(seconds / 60), 60)
        return f", about {f'{hours} h ' if hours else ''}{minutes} min left"


def _kind(job: Job) -> tuple[str, int]:
    return job.verb, len(job.settings.get("tasks", ()))
