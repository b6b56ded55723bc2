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
# Command after command (`-c CODE ARGUMENT…` is one of Python's); what each prints is printed at the
# end, as a list.
COMMANDS = """
import contextlib, io, json, sys
from speechft.cli.app import main
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            if words[0] == "-c":
                sys.argv = words[:1] + words[2:]
                exec(words[1], {"__name__": "__main__"})
            else:
                main(words)
        except SystemExit as end:
            assert not end.code, (words, end.code)
    said.append(out.getvalue())
print(json.dumps(said))
"""


def package_with(folder: Path, name: str, text: str) -> Path:
    """Lay out the package in a folder, every file a link, and one new file beside them."""
    shutil.copytree(SOURCE, folder / "speechft", copy_function=os.symlink)
    target = folder / "speechft" / name
    assert not target.exists()
    target.write_text(text)
    return folder


def run_commands(package: Path, *commands: Iterable[object]) -> list[str]:
    """Call the command line of that package, in one process; give what each command prints."""
    words = json.dumps([list(map(str, one)) for one in commands])
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, words],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said: list[str] = json.loads(done.stdout)
    return said
