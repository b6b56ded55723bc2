"""Ctrl-C met workers as they started: tracebacks; behind a script's `&` nothing heard it.

SIGTERM ended a command by the signal itself, without a word, and a training in a worker lost what
it had done since its last state. Today the first signal ends every command with one message, exit
code 130 or 143, workers keep their states and are gone within seconds, and Ctrl-C once more ends
all at once.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stopping import SIGNALS, left_of, start, stop, wait_until

SUPPORT = Path(__file__).parents[1] / "support"
COMMAND = """
import sys, time
sys.path.insert(0, sys.argv[1])
from worker_jobs import train
from speechft.cli import app
from speechft.core.worker_processes import LocalExecutor

def work(arguments):
    with LocalExecutor([{}, {}]) as workers:
        for number in range(3):
            workers.submit(train, f"{sys.argv[2]}/{number}", sys.argv[3] == "obeys")
        print("started", flush=True)
        time.sleep(60)

app._run = work
app.main(["evaluate", "--out", "x"])
"""


def started(folder: Path, job: str = "obeys", **more: bool) -> subprocess.Popen[str]:
    return start([sys.executable, "-c", COMMAND, str(SUPPORT), str(folder), job], **more)


def at_work(folder: Path) -> bool:
    return all((folder / name).exists() for name in "01")


@pytest.mark.parametrize("said", SIGNALS)
@pytest.mark.parametrize("alone", [False, True], ids=["all", "the command"])
def test_one_message_and_the_states_of_this_moment(tmp_path: Path, said: str, alone: bool) -> None:
    number, code = SIGNALS[said]
    process = started(tmp_path, ignored=alone)
    wait_until(lambda: at_work(tmp_path), process)
    stop(process, number, alone=alone)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == code
    kept = "Stopped. What was done so far is kept; the same command goes on:"
    assert [one for one in text.splitlines() if one and not one.startswith("Stopping after")] == [
        "started", kept, "  speechft evaluate --out x"
    ]  # fmt: skip
    assert not left_of(process)
    assert [(tmp_path / name).read_text() for name in "01"] == ["kept", "kept"]
    assert not (tmp_path / "2").exists()


@pytest.mark.parametrize("said", SIGNALS)
def test_workers_that_just_start_say_nothing(tmp_path: Path, said: str) -> None:
    number, code = SIGNALS[said]
    process = started(tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    time.sleep(0.1)
    stop(process, number)
    text, _ = process.communicate(timeout=20)
    assert process.returncode == code, text
    assert text.count("\n") == 2
    assert not left_of(process)


def test_ctrl_c_once_more_ends_all_at_once(tmp_path: Path) -> None:
    process = started(tmp_path, "does not obey")
    wait_until(lambda: at_work(tmp_path), process)
    stop(process, signal.SIGINT)
    time.sleep(0.6)
    assert process.poll() is None  # the states may still be written
    stop(process, signal.SIGTERM)  # clusters send it twice: no reason to lose the state
    time.sleep(0.2)
    assert process.poll() is None
    began = time.monotonic()
    stop(process, signal.SIGINT)
    text, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert "Stopped at once." in text
    assert "Traceback" not in text
    assert not left_of(process)
