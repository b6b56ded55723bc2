"""`speechft convert RUN DIR --to hf-head` said "unknown task 'asr'": nothing had registered it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = "from speechft.tasks.kept_head import task_from_dict; print(task_from_dict({}).id)"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"task": "asr", "symbols": ["A", "|"]}, "asr"),
        ({"task": "pr", "symbols": ["a", "b"]}, "pr"),
        ({"task": "ctc:x", "symbols": ["a", "b"]}, "ctc:x"),
    ],
)
def test_whoever_asks_first_finds_every_task(values: dict[str, object], expected: str) -> None:
    code = CODE.replace("{}", repr(values))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (expected, "")
