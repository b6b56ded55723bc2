"""The package with one file more: what adding a task or an encoder family amounts to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import speechft

SOURCE = Path(speechft.__file__).parent
# Command after command; what each prints is printed at the end, as a list.
COMMANDS = """
import contextlib, io, json, sys
from speechft.cli.app import main
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(words)
        except SystemExit as end:
            assert not end.code, (words, end.code)
    said.append(out.getvalue())
print(json.dumps(said))
"""


def package_with(folder: Path, name: str, text: str) -> Path:
    """Lay out the package in a folder, every file a link, and one new file beside them."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, folder / "speechft", copy_function=os.symlink, ignore=ignored)
    target = folder / "speechft" / name
    assert not target.exists()
    target.write_text(text)
    return folder


def run(package: Path, code: str, *arguments: object) -> str:
    """Run Python code with that package, in a process of its own; give what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_commands(package: Path, *commands: Iterable[object]) -> list[str]:
    """Call the command line of that package, in one process; give what each command prints."""
    said: list[str] = json.loads(
        run(package, COMMANDS, json.dumps([list(map(str, one)) for one in commands]))
    )
    return said
