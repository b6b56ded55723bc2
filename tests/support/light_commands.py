"""What a command of the command line imports, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

_SAYS = """
import sys
from speechft.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit:
    print("IMPORTED", *{"torch", "lhotse", "scipy", "transformers"} & sys.modules.keys())
"""


def shown_and_imported(*arguments: str) -> tuple[str, list[str]]:
    """Give what a command prints, and which of the slow libraries it has imported."""
    command = [sys.executable, "-c", _SAYS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shown, _, imported = done.stdout.partition("IMPORTED")
    return shown, imported.split()
