"""The package with one file more: what adding a task or an encoder family amounts to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import speechft

SOURCE = Path(speechft.__file__).parent


def package_with(folder: Path, name: str, text: str) -> Path:
    """Lay out the package in a folder, every file a link, and one new file beside them."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(SOURCE, folder / "speechft", copy_function=os.symlink, ignore=ignored)
    target = folder / "speechft" / name
    assert not target.exists()
    target.write_text(text)
    return folder


def run(package: Path, *arguments: object, code: str | None = None) -> str:
    """Run the command line, or Python code, of that package; give what it prints."""
    program = code or "from speechft.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
