"""Commands that get a signal as a terminal or a cluster sends it, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import psutil

SIGNALS: Final = {"Ctrl-C": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}


def start(command: Sequence[str], ignored: bool = False, **more: Any) -> subprocess.Popen[str]:
    """Start a command in a group of its own, as a shell does.

    Args:
        command: and its arguments.
        ignored: as a shell's `&` does in a script, which lets it ignore Ctrl-C.
        more: of `Popen`.
    """
    how = signal.SIG_IGN if ignored else signal.SIG_DFL
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, how),
        **more,
    )


def wait_until(ready: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait for a moment of a process, which may end before it."""
    deadline = time.monotonic() + 60
    while not ready() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def stop(process: subprocess.Popen[str], number: int, *, alone: bool = False) -> None:
    """Send a signal to a process and all that it has started, or to it alone."""
    if process.poll() is None:
        (os.kill if alone else os.killpg)(process.pid, number)


def left_of(process: subprocess.Popen[str], seconds: float = 3.0) -> list[str]:
    """Name what a process has started and is still there after some seconds."""
    deadline = time.monotonic() + seconds
    while (left := _of_session(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _of_session(number: int) -> list[str]:
    found = []
    for one in psutil.process_iter():
        try:
            if os.getsid(one.pid) == number and one.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(one.cmdline())[:200])
        except (ProcessLookupError, psutil.Error):
            continue
    return found
