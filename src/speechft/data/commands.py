"""Cuts whose audio a command gives: run only where the caller allows it, and only once.

Nothing that is read may start a process. Where the command line or a caller in Python says
`allow_commands`, what the commands give is kept as files, which the cuts then name, so that all
that comes later reads files alone. URLs are never opened.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from speechft.core.artifact import content_id
from speechft.core.errors import DataError
from speechft.core.files import atomic_path
from speechft.core.places import cache_folder

Runner = Callable[[Cut], Cut]


def kept_folder() -> Path:
    """Give the folder of audio that was in no file: `$SPEECHFT_CACHE/audio`."""
    return cache_folder() / "audio"


def is_command(cut: Cut) -> bool:
    """Tell whether a command gives audio of a cut."""
    recording = getattr(cut, "recording", None)
    return recording is not None and any(s.type == "command" for s in recording.sources)


def run_commands(cut: Cut) -> Cut:
    """Run the commands of a cut; give the cut with files in their place.

    Raises:
        DataError: a command fails, or gives nothing.
    """
    recording: Any = getattr(cut, "recording", None)
    sources = [
        replace(s, type="file", source=str(_output(s.source))) if s.type == "command" else s
        for s in recording.sources
    ]
    changed: Any = replace(cut, recording=replace(recording, sources=sources))
    return changed


def _output(command: str) -> Path:
    """Run a command in a shell; keep what it gives under a name that follows from it."""
    done = subprocess.run(command, shell=True, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        ended = f"exit code {done.returncode}" if done.returncode else "no output"
        raise DataError("its command fails", found=": ".join([command, ended, *said[-1:]]))
    folder = kept_folder()
    with atomic_path(folder / "new") as temporary:
        temporary.write_bytes(done.stdout)
        path = folder / content_id(temporary)
        if not path.exists():
            path.hardlink_to(temporary)
    return path
