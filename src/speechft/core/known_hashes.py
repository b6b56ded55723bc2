"""SHA-256 of large files, remembered as long as nothing has touched the file.

A file counts as untouched while its place on the disk, size, modification time and change time are
the same. The change time cannot be set by programs, and hashes of files that changed less than two
seconds before they were read are not remembered, so that a clock's coarseness hides nothing.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from speechft.core.files import hash_file, read_json, write_json

FILE_NAME = "hashes.json"
SETTLED_NS = 2_000_000_000
MOST = 500


def cache_folder() -> Path:
    """Give the folder of what this package remembers: `$SPEECHFT_CACHE`, or `~/.cache/speechft`."""
    return Path(os.environ.get("SPEECHFT_CACHE") or Path.home() / ".cache" / "speechft")


def known_hash(path: Path | str) -> str:
    """Give the SHA-256 of a file as hex; it is read only if it is not known."""
    path = Path(path).resolve()
    store = cache_folder() / FILE_NAME
    stamp = _stamp(path)
    known = _read(store).get(str(path))
    if known is not None and known[:-1] == stamp:
        return str(known[-1])
    begin = time.time_ns()
    digest = hash_file(path)
    if _stamp(path) == stamp and max(stamp[-2:]) < begin - SETTLED_NS:
        entries = _read(store)
        entries.pop(str(path), None)
        entries[str(path)] = [*stamp, digest]
        try:
            write_json(store, dict(list(entries.items())[-MOST:]))
        except OSError:
            return digest
    return digest


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read(store: Path) -> dict[str, list[int | str]]:
    try:
        entries = read_json(store)
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
