"""Commands that are stopped, killed, or run twice at once; each in processes of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from fault_world import Outcome

_LONG: Final = ("--set", "seconds=4", "--set", "threads=1", "--out", "out")
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "finetune": ("finetune", "--encoder", "enc", "--task", "sid", "--data", "data.csv",
                 "--head-size", "mini", "--steps", "400", "--set", "save_every=5", *_LONG),
    "pretrain": ("pretrain", "--init", "enc", "--data", "data.csv", "--clusters", "2", "--layer",
                 "1", "--steps", "400", "--set", "save_every=5", *_LONG),
    "merge": ("merge", "enc", "tuned", "--out", "out"),
    "evaluate": ("evaluate", "enc", "--data", "data.csv", "--tasks", "sid,asr", "--steps", "400",
                 "--out", "out"),
}  # fmt: skip


def _start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "speechft", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # a terminal's Ctrl-C reaches workers, too
    )


def _stop(command: str, number: int) -> Outcome:
    """Send a signal once the work has begun."""
    process = _start(COMMANDS[command])
    deadline = time.monotonic() + 60
    while not _begun(command) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    if process.poll() is None:
        os.killpg(process.pid, number)
    text, _ = process.communicate(timeout=90)
    return Outcome(process.returncode, text, 0.0, _not_mine())


def _begun(command: str) -> bool:
    if command in ("finetune", "pretrain"):
        return any(Path("out").rglob("metrics.jsonl"))
    return any(Path("out").glob("*"))


def _kill_and_again(command: str, arguments: Sequence[str]) -> Outcome:
    """Kill a command at its work; the same command ends it, and leaves nothing temporary."""
    process = _start(arguments)
    deadline = time.monotonic() + 60
    while not _begun(command) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    again = _start(arguments)
    text, _ = again.communicate(timeout=120)
    left = [str(path) for path in Path().rglob("*.tmp") if path.parts[0] != "theirs"]
    return Outcome(again.returncode, text, 0.0, (*_not_mine(), *left))


def _twice(command: str, arguments: Sequence[str]) -> Outcome:
    """Run a command twice at once: both end well, or the second is refused by name."""
    both = [_start(arguments) for _ in range(2)]
    ends = [process.communicate(timeout=120)[0] for process in both]
    codes = [process.returncode for process in both]
    worst = 1 if not set(codes) <= {0, 2} or 0 not in codes else 0
    return Outcome(worst, "\n".join(ends) if worst else "", 0.0, _not_mine())


def _not_mine() -> tuple[str, ...]:
    mine = ("notes.txt", "theirs/notes.txt", "theirs/x.tmp")
    return tuple(name for name in mine if not Path(name).is_file())


def _short(command: str) -> tuple[str, ...]:
    return tuple("12" if argument == "400" else argument for argument in COMMANDS[command])


ROWS: Final[dict[str, tuple[Callable[[], Outcome], frozenset[int]]]] = {
    **{
        f"{command}: {said}": (partial(_stop, command, number), frozenset({code}))
        for command in ("finetune", "pretrain")
        for said, number, code in (("Ctrl-C", signal.SIGINT, 130), ("SIGTERM", signal.SIGTERM, 143))
    },
    **{
        f"{command}: kill -9, and again": (
            partial(_kill_and_again, command, _short(command)), frozenset({0})
        )
        for command in COMMANDS
    },
    **{
        f"{command}: twice at once": (partial(_twice, command, _short(command)), frozenset({0}))
        for command in COMMANDS
    },
}  # fmt: skip
