"""`speechft convert RUN DIR --to hf-head` said "unknown task 'asr'": nothing had registered it."""

from __future__ import annotations

import subprocess
import sys

CODE = "from speechft.tasks.kept_head import task_from_dict; print(task_from_dict({}).id)"


def test_whoever_asks_first_finds_the_task() -> None:
    code = CODE.replace("{}", repr({"task": "asr", "symbols": ["A", "|"]}))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("asr", "")
