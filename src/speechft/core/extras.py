"""How packages are installed that only some uses need: by this package's own bounds."""

from __future__ import annotations

import re
import shlex
from importlib import metadata


def pip_install(package: str) -> str:
    """Give the command that installs a package in a version that this one was tried with.

    Bounds are those of the extras in `pyproject.toml`; where this package was not installed, but
    is run from its sources, there are none.
    """
    try:
        wanted = metadata.requires("speechft") or []
    except metadata.PackageNotFoundError:
        wanted = []
    for line in wanted:
        requirement = line.partition(";")[0].strip()
        if re.match(rf"{re.escape(package)}(?![\w.-])", requirement):
            return f"pip install {shlex.quote(requirement)}"
    return f"pip install {package}"
