"""What tests let worker processes do; a worker finds this file where pytest does."""

from __future__ import annotations

import os
import signal
from pathlib import Path


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
