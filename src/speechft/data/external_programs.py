"""What other programs are asked for: audio that a command gives, corpora in Debian's packages.

Nothing that is read may start a process. Where the command line or a caller in Python says
`allow_commands`, what the commands of cuts give is kept as files, which the cuts then name, so that
all that comes later reads files alone; each runs only once. URLs are never opened. Packages are
fetched and unpacked where a command line asks for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechft.core.artifact import content_id
from speechft.core.errors import DataError
from speechft.core.files import atomic_dir, atomic_path, cache_folder, remove_leftovers
from speechft.core.logging import get_logger

if TYPE_CHECKING:
    from lhotse.cut import Cut

Runner = Callable[["Cut"], "Cut"]


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


_log = get_logger(__name__)


def unpacking(packages: Sequence[str]) -> str:
    """Say how to get packages and unpack them."""
    return f"apt-get download {' '.join(packages)}, and dpkg -x each file into one folder"


def fetch_packages(packages: Sequence[str], root: Path) -> None:
    """Download the packages that a folder lacks by apt and unpack them into it.

    Nothing is installed, and no right of an administrator is needed. Files that are there stay as
    they are.

    Raises:
        DataError: there is no apt, or it has no such packages.
    """
    remove_leftovers(root)
    missing = [one for one in packages if not (root / "usr" / "share" / "doc" / one).is_dir()]
    if not missing:
        _log.info("%s: all packages are there, nothing is downloaded", root)
        return
    absent = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if absent:
        raise DataError(
            f"there is no {absent[0]} here to download with",
            where=root,
            hint=f"on a Debian machine: {unpacking(missing)}",
        )
    _log.info("%s: %s are downloaded", root, ", ".join(missing))
    with atomic_dir(root) as folder:
        _run(["apt-get", "download", "-q", *missing], folder)
        for file in sorted(folder.glob("*.deb")):
            _run(["dpkg", "-x", file.name, "."], folder)
            file.unlink()
        for file in folder.rglob("*"):
            if not file.is_dir() and os.path.lexists(root / file.relative_to(folder)):
                file.unlink()


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise DataError(
            f"{command[0]} could not do it",
            where=" ".join(command),
            found=said[-1] if said else f"exit code {done.returncode}",
            hint="apt-get update first, or get the packages from packages.debian.org",
        )
