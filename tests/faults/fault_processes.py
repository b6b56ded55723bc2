"""Commands that are stopped, killed, or run twice at once; each in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from fault_world import Outcome
from kills import results_of
from stopping import SIGNALS, left_of, start, stop, wait_until

_LONG: Final = ("--set", "seconds=4", "--set", "threads=1", "--out", "out")
_RUN: Final = ("--set", "finetune.steps=150", "--set", "finetune.save_every=5", "--set",
               "finetune.seconds=4", "--set", "finetune.threads=1", "--out", "out")  # fmt: skip
COMMANDS: Final[dict[str, tuple[str, ...]]] = {
    "finetune": ("finetune", "--encoder", "enc", "--task", "sid", "--data", "data.csv",
                 "--head-size", "mini", "--steps", "150", "--set", "save_every=5", *_LONG),
    "pretrain": ("pretrain", "--init", "enc", "--data", "data.csv", "--clusters", "2", "--layer",
                 "1", "--steps", "150", "--set", "save_every=5", *_LONG),
    "merge": ("merge", "enc", "tuned", "--out", "out"),
    "evaluate": ("evaluate", "enc", "--data", "data.csv", "--tasks", "sid,asr", "--steps", "150",
                 "--out", "out"),
}  # fmt: skip
#: Commands that are stopped, and what shows that they are at their work.
STOPPED: Final[dict[str, tuple[tuple[str, ...], str]]] = {
    "finetune": (COMMANDS["finetune"], "metrics.jsonl"),
    "pretrain": (COMMANDS["pretrain"], "metrics.jsonl"),
    "evaluate": (COMMANDS["evaluate"], "begun.json"),
    "evaluate, two workers": ((*COMMANDS["evaluate"], "--workers", "2"), ".states/*"),
    "run": (("run", "recipe.yaml", *_RUN), "metrics.jsonl"),
    "run, two workers": (("run", "recipe.yaml", "--workers", "2", *_RUN), "metrics.jsonl"),
    "study, two workers": (("study", "long.yaml", "--workers", "2", "--out", "out"),
                           "metrics.jsonl"),
}  # fmt: skip
_LONG_STUDY: Final = """name: long
title: A long one
seeds: [0]
encoders: {theta0: enc}
finetune: {data: data.csv, task: sid, steps: 150, save_every: 5, seconds: 4, head_size: mini}
evaluate: {data: data.csv, tasks: [sid], steps: 1}
stages: [{name: tuned, finetune: {}}]
rows:
- {name: theta0, title: before, encoder: theta0}
- {name: tuned, title: after, encoder: tuned}
"""


def _start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return start([sys.executable, "-m", "speechft", *arguments], env=env)


def _stop(command: str, number: int) -> Outcome:
    """Send a signal once the work has begun: one message, no process left, and it can be gone on.

    What goes on ends with the bytes of a command that nobody has stopped.
    """
    Path("long.yaml").write_text(_LONG_STUDY)
    arguments, sign = STOPPED[command]
    process = _start(arguments)
    wait_until(lambda: any(Path("out").rglob(sign)), process)
    stop(process, number)
    text, _ = process.communicate(timeout=60)
    lost = [f"no end of {name}" for name in left_of(process)]
    if text.count("Stopped. ") != 1:
        lost.append("the one message that it was stopped")
    again = _start(arguments)
    said, _ = again.communicate(timeout=300)
    whole = _start(["whole" if argument == "out" else argument for argument in arguments])
    whole.communicate(timeout=300)
    if again.returncode or (stopped := _results("out")) != _results("whole") or not stopped:
        lost.append(f"the same bytes when it went on ({said[-300:]})")
    return Outcome(process.returncode, text, 0.0, (*_not_mine(), *lost))


def _results(out: str) -> dict[str, str]:
    found = results_of(Path(out))
    return {name: digest for name, digest in found.items() if not name.endswith("run.json")}


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
    return tuple("12" if argument == "150" else argument for argument in COMMANDS[command])


ROWS: Final[dict[str, tuple[Callable[[], Outcome], frozenset[int]]]] = {
    **{
        f"{command}: {said}": (partial(_stop, command, number), frozenset({code}))
        for command in STOPPED
        for said, (number, code) in SIGNALS.items()
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
