"""What a command of the command line imports, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_SAYS = """
import sys
from speechft.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    slow = {"torch", "lhotse", "scipy", "transformers", "numpy"}
    print("ENDED", end.code or 0, *slow & sys.modules.keys())
"""


class Ended(NamedTuple):
    """How a command ended, what it printed, and which of the slow libraries it has imported."""

    code: int
    shown: str
    said: str
    imported: set[str]


def ended(*arguments: str, cwd: Path | None = None) -> Ended:
    """Run a command to its end."""
    call = [sys.executable, "-c", _SAYS, *arguments]
    done = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=True)
    shown, _, last = done.stdout.rpartition("ENDED")
    code, *imported = last.split()
    return Ended(int(code), shown, done.stderr, set(imported))
