"""Worker processes: their environment, and what a death costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import worker_jobs
from worker_jobs import die_once

from speechft.core.worker_processes import LocalExecutor, WorkerDiedError


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


def test_a_killed_command_leaves_no_warning_of_what_is_cleaned_up_behind_it() -> None:
    code = (
        "import os, signal\n"
        "from speechft.core.worker_processes import LocalExecutor\n"
        "with LocalExecutor([{}]) as workers:\n"
        "    workers.submit(os.getpid).result()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


def test_a_worker_that_is_replaced_since_it_holds_much_memory_is_no_news() -> None:
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(worker_jobs.__file__).parent)!r})\n"
        "from speechft.core.worker_processes import LocalExecutor\n"
        "import worker_jobs\n"
        "with LocalExecutor([{}]) as workers:\n"
        "    sizes = (1, 400, 400, 1)\n"
        "    pids = [workers.submit(worker_jobs.hold, n, 1.2).result() for n in sizes]\n"
        "print(len(set(pids)) > 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
