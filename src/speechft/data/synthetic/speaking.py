"""Many utterances spoken by several processes, with progress."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import DataError
from speechft.core.logging import progress_bar
from speechft.core.workers import LocalExecutor, WorkerDiedError, may_start_processes
from speechft.data.synthetic.effects import RATE
from speechft.data.synthetic.plan import Planned
from speechft.data.synthetic.render import Job
from speechft.data.synthetic.worker import speak_jobs, speak_some

_FEW: Final = 300
_AT_ONCE: Final = 50


def speak_all(
    planned: Sequence[Planned], audio: Path, processes: int | None
) -> dict[str, dict[str, Any]]:
    """Speak everything planned, in this process if it is little.

    Args:
        planned: what to speak.
        audio: the folder for the audio; it exists.
        processes: how many; all processors up to 8 if not given.

    Returns:
        id → record of `worker.speak_jobs`.

    Raises:
        DataError: a process failed.
    """
    jobs = [item.job for item in planned]
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
            bar.update(task, advance=1, note=f"{speed:.0f} × real time")
    return spoken


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
