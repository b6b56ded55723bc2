"""A library that wrote to standard output made a living worker "dead", and orphans worked on.

A worker answered on its standard output, where a line of a C library came first and was no answer;
and it looked for its parent only between two probes, so that it kept a core for as long as the one
at hand took. Today results have a pipe of their own, and a worker looks all the time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from worker_jobs import print_natively

from speechft.core.worker_processes import LocalExecutor


def test_what_a_library_prints_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalExecutor([{}]) as workers:
        first = workers.submit(print_natively).result()
        assert workers.submit(print_natively).result() == first
    assert "noise" not in capfd.readouterr().out


def start_busy_worker(note: Path) -> subprocess.Popen[bytes]:
    """Start a process that waits for its worker, which says its number and works for long."""
    code = (
        "import sys, time, os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's & ignores it
        "from pathlib import Path\n"
        "from speechft.core.worker_processes import LocalExecutor\n"
        "with LocalExecutor([{}]) as workers:\n"
        "    Path(sys.argv[1]).write_text(str(workers.submit(os.getpid).result()))\n"
        "    workers.submit(time.sleep, 60).result()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(note)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_ends_with_its_parent_in_the_middle_of_its_work(
    tmp_path: Path, how: signal.Signals
) -> None:
    note = tmp_path / "pid"
    process = start_busy_worker(note)
    worker = psutil.Process(int(note.read_text()))
    process.send_signal(how)
    worker.wait(timeout=10)
    process.wait(timeout=10)
