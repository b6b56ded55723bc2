"""Worker processes, each with one encoder at a time; they need no guard in the caller's script."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from speechft.core import errors
from speechft.core.errors import SpeechFTError
from speechft.core.files import atomic_path
from speechft.stages.evaluation.job import Workplace

MODULE = "speechft.stages.evaluation.worker"


def run_in_processes(place: Workplace, count: int, folder: Path) -> list[list[str]]:
    """Run all encoders of an evaluation in several processes.

    Encoders with more tasks go first. A failure does not stop the others; it is raised at the end.

    Args:
        place: what every process works with.
        count: number of processes.
        folder: for a temporary file.

    Returns:
        The keys of each encoder's cells, in the order of the settings.

    Raises:
        SpeechFTError: the first mistake of a user that a process met.
        RuntimeError: a process failed otherwise.
    """
    specs = place.settings.encoders
    queue: Queue[int] = Queue()
    for index in sorted(range(len(specs)), key=lambda i: -len(place.settings.tasks_of(specs[i]))):
        queue.put(index)
    answers: dict[int, dict[str, Any]] = {}
    for left_by_a_killed_run in folder.glob(".setup-*.pkl"):
        left_by_a_killed_run.unlink(missing_ok=True)
    setup = folder / f".setup-{os.getpid()}.pkl"
    with atomic_path(setup) as temporary:
        temporary.write_bytes(pickle.dumps(place))
    threads = max(1, (os.cpu_count() or 1) // count)
    try:
        keepers = [
            threading.Thread(target=_keep, args=(setup, threads, queue, answers), daemon=True)
            for _ in range(count)
        ]
        for keeper in keepers:
            keeper.start()
        for keeper in keepers:
            keeper.join()
    finally:
        setup.unlink(missing_ok=True)
    return [_keys(answers.get(index)) for index in range(len(specs))]


def error_values(error: SpeechFTError) -> dict[str, Any]:
    """Give an error as plain values."""
    names = ("what", "where", "expected", "found", "hint")
    return {"error": type(error).__name__, **{name: getattr(error, name) for name in names}}


def _keep(setup: Path, threads: int, queue: Queue[int], answers: dict[int, dict[str, Any]]) -> None:
    """Keep one process busy until the queue is empty; start another if it dies."""
    worker: subprocess.Popen[str] | None = None
    while True:
        try:
            index = queue.get_nowait()
        except Empty:
            break
        if worker is None:
            worker = _start(setup, threads)
        answer = _ask(worker, index)
        if answer is None:
            answer = {"crash": f"a worker process ended with exit code {worker.wait()}"}
            worker = None
        answers[index] = answer
    if worker is not None and worker.stdin is not None:
        worker.stdin.close()
        worker.wait()


def _start(setup: Path, threads: int) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", MODULE, str(setup), str(threads)]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
    )


def _ask(worker: subprocess.Popen[str], index: int) -> dict[str, Any] | None:
    if worker.stdin is None or worker.stdout is None:
        return None
    try:
        worker.stdin.write(f"{index}\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        return None
    return json.loads(line) if line else None


def _keys(answer: dict[str, Any] | None) -> list[str]:
    if answer is None or "crash" in answer:
        raise RuntimeError((answer or {}).get("crash", "a worker process gave no answer"))
    if "error" in answer:
        name = answer.pop("error")
        kind: type[SpeechFTError] = getattr(errors, name, SpeechFTError)
        raise kind(answer.pop("what"), **answer)
    keys: Sequence[str] = answer["keys"]
    return list(keys)
