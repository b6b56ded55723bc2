"""Many jobs spoken by several processes, with progress."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Queue
from typing import Any

from speechft.core.errors import DataError
from speechft.core.files import write_jsonl
from speechft.core.logging import progress_bar
from speechft.data.synthetic.effects import RATE
from speechft.data.synthetic.plan import Planned
from speechft.data.synthetic.worker import speak_jobs

_FEW = 300


def speak_all(
    planned: Sequence[Planned], audio: Path, scratch: Path, processes: int | None
) -> dict[str, dict[str, Any]]:
    """Speak everything planned, in this process if it is little.

    Args:
        planned: what to speak.
        audio: the folder for the audio; it exists.
        scratch: a folder for the processes' lists of jobs; it is removed.
        processes: how many; all processors up to 8 if not given.

    Returns:
        id → record of `worker.speak_jobs`.

    Raises:
        DataError: a process failed.
    """
    jobs = [asdict(item.job) for item in planned]
    if processes is None:
        processes = 1 if len(jobs) <= _FEW else min(8, os.cpu_count() or 1)
    records = (
        speak_jobs(jobs, audio) if processes == 1 else _shared(jobs, audio, scratch, processes)
    )
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


def _shared(
    jobs: Sequence[Mapping[str, Any]], audio: Path, scratch: Path, processes: int
) -> Iterator[dict[str, Any]]:
    """Share jobs among processes and give their records as they come."""
    lines: Queue[str | None] = Queue()
    workers = []
    for index in range(processes):
        path = scratch / f"{index}.jsonl"
        write_jsonl(path, jobs[index::processes])
        command = [sys.executable, "-m", "speechft.data.synthetic.worker", str(path), str(audio)]
        workers.append(subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8"))
    for worker in workers:
        threading.Thread(target=_forward, args=(worker, lines), daemon=True).start()
    try:
        running = len(workers)
        while running:
            line = lines.get()
            if line is None:
                running -= 1
            else:
                yield json.loads(line)
        failed = [worker.wait() for worker in workers if worker.wait() != 0]
        if failed:
            raise DataError(
                "a process that makes synthetic speech failed",
                expected="exit code 0",
                found=failed[0],
                hint="its message is above; free memory and disk space, then run again",
            )
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _forward(worker: subprocess.Popen[str], lines: Queue[str | None]) -> None:
    for line in worker.stdout or ():
        lines.put(line)
    lines.put(None)
