"""Many utterances spoken and written as audio, by several processes, with progress.

eSpeak has global state, so that processes are fresh ones and no forks. What they import is little,
so that they start quickly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Final

import soundfile

from speechft.core.errors import DataError
from speechft.core.progress import progress_bar
from speechft.core.worker_processes import LocalExecutor, WorkerDiedError, may_start_processes
from speechft.data.synthetic.render import Job, render
from speechft.data.synthetic.rooms_and_noise import RATE

_FEW: Final = 300
_AT_ONCE: Final = 50


def speak_all(jobs: Sequence[Job], audio: Path, processes: int | None) -> dict[str, dict[str, Any]]:
    """Speak all jobs, in this process if they are few.

    Args:
        jobs: what to speak.
        audio: the folder for the audio; it exists.
        processes: how many; all processors up to 8 if not given.

    Returns:
        id → record of `speak_jobs`.

    Raises:
        DataError: a process failed.
    """
    if processes is None:
        alone = len(jobs) <= _FEW or not may_start_processes()
        processes = 1 if alone else min(8, os.cpu_count() or 1)
    records = speak_jobs(jobs, audio) if processes == 1 else _shared(jobs, audio, processes)
    spoken: dict[str, dict[str, Any]] = {}
    started, seconds = time.monotonic(), 0.0
    with progress_bar() as bar:
        task = bar.add_task("synthetic speech", total=len(jobs), note="")
        for record in records:
            spoken[record["id"]] = record
            seconds += record["samples"] / RATE
            speed = seconds / max(time.monotonic() - started, 1e-3)
            bar.update(task, completed=len(spoken), note=f"{speed:.0f} × real time")
    return spoken


def speak_jobs(jobs: Iterable[Job], folder: Path) -> Iterator[dict[str, Any]]:
    """Render jobs into FOLDER/SPLIT/ID.flac; give for each its id, samples and timed phonemes."""
    for job in jobs:
        utterance = render(job)
        path = audio_path(folder, job.id)
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, utterance.samples, RATE, subtype="PCM_16", format="FLAC")
        yield {"id": job.id, "samples": len(utterance.samples), "phones": utterance.phones}


def speak_some(jobs: Iterable[Job], folder: Path) -> list[dict[str, Any]]:
    """Do what `speak_jobs` does, all at once."""
    return list(speak_jobs(jobs, folder))


def audio_path(folder: Path, name: str) -> Path:
    """Give the file of an utterance: one folder per split."""
    return folder / name.rpartition("-")[0] / f"{name}.flac"


def _shared(jobs: Sequence[Job], audio: Path, processes: int) -> Iterator[dict[str, Any]]:
    """Share jobs among processes and give their records as they come."""
    with LocalExecutor([{}] * processes) as workers:
        parts = [jobs[n : n + _AT_ONCE] for n in range(0, len(jobs), _AT_ONCE)]
        for future in as_completed([workers.submit(speak_some, part, audio) for part in parts]):
            try:
                yield from future.result()
            except WorkerDiedError as error:
                raise DataError(
                    "a process that makes synthetic speech failed",
                    expected="a process that ends its work",
                    found=error.what,
                    hint="its message is above; free memory and disk space, then run again",
                ) from None
