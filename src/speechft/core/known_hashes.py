"""SHA-256 of large files, remembered as long as nothing has touched the file.

A file counts as untouched while its place on the disk, size, modification time and change time are
the same. The change time cannot be set by programs, and hashes of files that changed less than two
seconds before they were read are not remembered, so that a clock's coarseness hides nothing. Only
`core.artifact` asks here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

from speechft.core.files import cache_folder, hash_file, read_json, write_json
from speechft.core.stopping import threads as start_threads

MANY_FOLDER = "file-hashes"
SETTLED_NS = 2_000_000_000
MOST_OF_MANY = 500_000


def known_hash(path: Path | str) -> str:
    """Give the SHA-256 of a file as hex; it is read only if it is not known."""
    place = str(Path(path).resolve())
    return known_hashes([place])[place]


def known_hashes(paths: Iterable[str], on_file: Callable[[], None] | None = None) -> dict[str, str]:
    """Give the SHA-256 of many files, such as a corpus' audio; only unknown ones are read.

    They are remembered in a few files by the names of their folders, so that a corpus of a hundred
    thousand files costs one look at each file's entry.

    Args:
        paths: as given they are the keys of the answer.
        on_file: called after each file that had to be read.

    Raises:
        OSError: a file cannot be read.
    """
    given = sorted(set(paths))
    full = {path: os.path.abspath(path) for path in given}
    stores = {path: _store_of(full[path]) for path in given}
    known = {store: _read_hashes(store) for store in set(stores.values())}
    result: dict[str, str] = {}
    stamps: dict[str, list[int]] = {}
    for path in given:
        stamps[path] = _stamp_of(Path(full[path]))
        entry = known[stores[path]].get(full[path])
        if entry is not None and entry[:-1] == stamps[path]:
            result[path] = str(entry[-1])
    unknown = [path for path in given if path not in result]
    begin = time.time_ns()
    with start_threads(4) as pool:
        for path, digest in zip(unknown, pool.map(hash_file, unknown), strict=True):
            result[path] = digest
            if on_file is not None:
                on_file()
    settled = [path for path in unknown if _is_settled(Path(full[path]), stamps[path], begin)]
    fresh: dict[Path, dict[str, list[int | str]]] = {}
    for path in settled:
        fresh.setdefault(stores[path], {})[full[path]] = [*stamps[path], result[path]]
    for store, entries in fresh.items():
        _remember(store, entries)
    return result


def _store_of(path: str) -> Path:
    part = sha256(os.path.dirname(path).encode()).hexdigest()[0]
    return cache_folder() / MANY_FOLDER / f"{part}.json"


def _is_settled(path: Path, stamp: list[int], begin: int) -> bool:
    return _stamp_of(path) == stamp and max(stamp[-2:]) < begin - SETTLED_NS


def _remember(store: Path, new: dict[str, list[int | str]]) -> None:
    entries = {**_read_hashes(store), **new}
    try:
        write_json(store, dict(list(entries.items())[-MOST_OF_MANY:]))
    except OSError:
        return


def _stamp_of(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read_hashes(store: Path) -> dict[str, list[int | str]]:
    try:
        entries = read_json(store)
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}
