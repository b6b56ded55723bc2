"""Worker processes, each with one encoder at a time; they need no guard in the caller's script."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from speechft.core.files import atomic_path
from speechft.core.line_worker import LineWorker
from speechft.probing.failures import Failure
from speechft.probing.job import Workplace
from speechft.probing.outcome import Outcome

MODULE = "speechft.probing.worker"


def run_in_processes(place: Workplace, devices: Sequence[str], folder: Path) -> list[Outcome]:
    """Run all encoders of an evaluation in several processes.

    Encoders with more tasks go first. A failure does not stop the others.

    Args:
        place: what every process works with.
        devices: one for each process.
        folder: for a temporary file.

    Returns:
        What came of each encoder, in the order of the settings.
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
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    try:
        keepers = [
            threading.Thread(
                target=_keep, args=(setup, threads, device, queue, answers), daemon=True
            )
            for device in devices
        ]
        for keeper in keepers:
            keeper.start()
        for keeper in keepers:
            keeper.join()
    finally:
        setup.unlink(missing_ok=True)
    return [_outcome(answers.get(i), spec.label) for i, spec in enumerate(specs)]


def _keep(
    setup: Path,
    threads: int,
    device: str,
    queue: Queue[int],
    answers: dict[int, dict[str, Any]],
) -> None:
    """Keep one process busy until the queue is empty; start another if it dies."""
    worker: LineWorker | None = None
    while True:
        try:
            index = queue.get_nowait()
        except Empty:
            break
        if worker is None:
            worker = LineWorker(MODULE, [str(setup), str(threads), device], threads)
        answer = worker.ask(str(index))
        if answer is None:
            answer = {"crash": f"a worker process ended with exit code {worker.close()}"}
            worker = None
        answers[index] = answer
    if worker is not None:
        worker.close()


def _outcome(answer: dict[str, Any] | None, encoder: str) -> Outcome:
    if answer is None or "crash" in answer:
        error = answer or {"crash": "a worker process gave no answer"}
        return Outcome(failures=[Failure(encoder, "", None, error)])
    return Outcome.from_dict(answer)
