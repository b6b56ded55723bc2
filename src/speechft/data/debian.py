"""Corpora in Debian's packages: fetched and unpacked where a command line asks for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from speechft.core.errors import DataError
from speechft.core.files import atomic_dir
from speechft.core.logging import get_logger

_log = get_logger(__name__)


def unpacking(packages: Sequence[str]) -> str:
    """Say how to get packages and unpack them."""
    return f"apt-get download {' '.join(packages)}, and dpkg -x each file into one folder"


def fetch_packages(packages: Sequence[str], root: Path) -> None:
    """Download packages by apt and unpack them into a folder; one that is there already stays.

    Nothing is installed, and no right of an administrator is needed.

    Raises:
        DataError: there is no apt, or it has no such packages.
    """
    if root.is_dir() and any(root.iterdir()):
        _log.info("%s: it is there already, nothing is downloaded", root)
        return
    absent = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if absent:
        raise DataError(
            f"there is no {absent[0]} here to download with",
            where=root,
            hint=f"on a Debian machine: {unpacking(packages)}",
        )
    with atomic_dir(root) as folder:
        _run(["apt-get", "download", "-q", *packages], folder)
        for file in sorted(folder.glob("*.deb")):
            _run(["dpkg", "-x", file.name, "."], folder)
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
