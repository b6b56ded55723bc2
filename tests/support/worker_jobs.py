"""What tests let worker processes do; a worker finds this file where pytest does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from speechft.core.stopping import Stopped, StopRequest


def die_once(note: Path) -> str:
    """Dies unless it has died before."""
    if note.exists():
        return "done"
    note.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def print_natively() -> int:
    """A C library writes to standard output, past Python."""
    os.write(1, b"noise from a library\n")
    return os.getpid()


def die(*_: object) -> None:
    """End without a word."""
    os._exit(7)


def wait_and_note(note: str, go: str) -> int:
    """Note that it runs, wait for a file, and give how often it was run."""
    with Path(note).open("a") as file:
        file.write("x")
    while not Path(go).exists():
        time.sleep(0.05)
    return len(Path(note).read_text())


def train(note: str, obeys: bool) -> None:
    """Note that it runs and how it ends, as training does; one that does not obey goes on."""
    with StopRequest() as stop:
        Path(note).write_text("begun")
        while not (obeys and stop.signal_number):
            time.sleep(0.01)
        Path(note).write_text("kept")
        raise Stopped("The state is kept", stop.signal_number)


HELD: list[bytearray] = []


def hold(megabytes: int, seconds: float) -> int:
    """Take memory and keep it; give the process's number, after a while."""
    HELD.append(bytearray(megabytes * 2**20))
    HELD[-1][:: 2**12] = b"x" * (megabytes * 2**8)
    time.sleep(seconds)
    return os.getpid()
