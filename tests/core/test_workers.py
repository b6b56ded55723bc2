"""Worker processes: deaths, orphans, what libraries print, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from worker_jobs import die_once, print_natively

from speechft.core.workers import LocalExecutor, WorkerDiedError


def test_work_is_done_in_processes_of_its_own_with_their_environment() -> None:
    with LocalExecutor([{"SPEECHFT_TEST": str(n)} for n in range(2)]) as workers:
        pids = {workers.submit(os.getpid).result() for _ in range(4)}
        assert os.getpid() not in pids
        assert len(pids) <= 2
        assert workers.submit(os.getenv, "SPEECHFT_TEST").result() in ("0", "1")
        with pytest.raises(ZeroDivisionError):
            workers.submit(divmod, 1, 0).result()


def test_a_death_costs_its_own_work_alone_and_is_tried_once_more(tmp_path: Path) -> None:
    with LocalExecutor([{}, {}]) as workers:
        slow = workers.submit(time.sleep, 1.0)
        lost = workers.submit(os._exit, 3)
        with pytest.raises(WorkerDiedError, match=r"EXIT\(3\).*tried again"):
            lost.result()
        assert workers.submit(die_once, tmp_path / "note").result() == "done"
        assert slow.result() is None
        assert workers.submit(abs, -2).result() == 2


def test_what_a_library_prints_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with LocalExecutor([{}]) as workers:
        first = workers.submit(print_natively).result()
        assert workers.submit(print_natively).result() == first
    assert "noise" not in capfd.readouterr().out


def start_busy_worker(note: Path) -> subprocess.Popen[bytes]:
    """Start a process that waits for its worker, which says its number and works for long."""
    code = (
        "import sys, time, os\n"
        "from pathlib import Path\n"
        "from speechft.core.workers import LocalExecutor\n"
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
    worker.wait(timeout=3)
    process.wait(timeout=10)
