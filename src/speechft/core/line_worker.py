"""A process that answers lines: one line in, one line of JSON out; it needs no guard in scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

_PARENT: Final = "SPEECHFT_PARENT"


class LineWorker:
    """A Python module as a process of its own.

    Args:
        module: reads lines from standard input and answers each with one line of JSON.
        arguments: of its command line.
        threads: for its numerical libraries.
        gpu: number of the only GPU that it sees; none for all that this process sees.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], threads: int, gpu: int | None = None
    ) -> None:
        own = {"OMP_NUM_THREADS": str(threads), _PARENT: str(os.getpid())}
        if gpu is not None:
            own["CUDA_VISIBLE_DEVICES"] = _visible(gpu)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **own},
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
        code = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()  # else whoever collects it later is warned
        return code

    def kill(self) -> None:
        """Stop it at once."""
        self._process.kill()
        self._process.wait()


def is_orphan() -> bool:
    """Say, in a worker, whether the process that started it is gone.

    Whoever asks the system for the parent only when all is imported may be an orphan by then.
    """
    parent = os.environ.get(_PARENT)
    return parent is not None and os.getppid() != int(parent)


def end_as_orphan() -> None:
    """Let a worker end, from now on, as soon as the process that started it is gone."""
    threading.Thread(target=_end_as_orphan, daemon=True).start()


def _end_as_orphan() -> None:
    while not is_orphan():
        time.sleep(1.0)
    os._exit(1)


def _visible(gpu: int) -> str:
    """Give the name of the GPU that has this number among those that this process sees."""
    seen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return seen[gpu] if any(seen) and gpu < len(seen) else str(gpu)
