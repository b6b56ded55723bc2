"""Files of unfinished work with a seal: their SHA-256 in a file beside them, as `sha256sum` has it.

A file is written first and its seal last, so that a file without a seal is one whose writer was
killed, and counts as not there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from speechft.core.errors import CheckpointError
from speechft.core.files import hash_file, write_text

SUFFIX: Final = ".sha256"


def seal(path: Path) -> None:
    """Say that a file is whole."""
    write_text(_seal_of(path), f"{hash_file(path)}  {path.name}\n")


def break_seal(path: Path) -> None:
    """Say that a file is about to be written anew, or removed."""
    _seal_of(path).unlink(missing_ok=True)


def is_sealed(path: Path, way_out: str) -> bool:
    """Tell whether a file was written to its end.

    Args:
        path: of the file.
        way_out: what to do where it has changed since, for the message.

    Raises:
        CheckpointError: it has.
    """
    try:
        expected = _seal_of(path).read_bytes().split()[:1]
    except FileNotFoundError:
        return False
    found = hash_file(path) if path.is_file() else "no file"
    if expected == [found.encode()]:
        return True
    raise CheckpointError(
        "this file is not as it was written",
        where=path,
        expected=f"SHA-256 {b''.join(expected)[:16].decode('ascii', 'replace')}…",
        found=found if found == "no file" else f"{found[:16]}…",
        hint=way_out,
    )


def _seal_of(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)
