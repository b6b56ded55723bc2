"""A process that answers lines: one line in, one line of JSON out; it needs no guard in scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class LineWorker:
    """A Python module as a process of its own.

    Args:
        module: reads lines from standard input and answers each with one line of JSON.
        arguments: of its command line.
        threads: for its numerical libraries.
    """

    def __init__(self, module: str, arguments: Sequence[str], threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )

    def ask(self, line: str) -> dict[str, Any] | None:
        """Give its answer; none if it has died."""
        if self._process.stdin is None or self._process.stdout is None:
            return None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            return None
        try:
            return json.loads(answer) if answer else None
        except ValueError:  # it died in the middle of its answer
            return None

    def close(self) -> int:
        """Let it end; give its exit code."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        return self._process.wait()

    def kill(self) -> None:
        """Stop it at once."""
        self._process.kill()
        self._process.wait()
