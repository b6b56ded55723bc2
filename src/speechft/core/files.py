"""Atomic files and folders, and content hashes.

Everything is written beside its place and moved in, so a killed process never leaves half a file
under a final name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from speechft.core.errors import SpeechFTError
from speechft.core.limits import regular_file


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same folder; move it to `path` if the block ends well.

    The file is flushed to disk before it is moved. On any error it is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # A full disk shows in a write, which does not know the file's name.
        error.filename = error.filename or str(path)
        raise
    except Exception as error:
        _say_if_full(path, error)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: Path | str) -> Iterator[Path]:
    """Give a temporary folder beside `path`; move it to `path` if the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for file in temporary.rglob("*"):
            if file.is_file():
                file.chmod(0o666 & ~_umask())  # some writers make files for their owner alone
                flush(file)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.replace(old / "old")
            temporary.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.replace(path)
    except Exception as error:
        _say_if_full(path, error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in a folder and below; nobody may be writing there now."""
    for path in [p for end in ("tmp", "old") for p in folder.rglob(f".*.{end}")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_jsonl(path: Path | str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON record per line, atomically."""
    write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """Read one JSON record per line; blank lines are skipped."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def hash_file(path: Path | str) -> str:
    """Give the SHA-256 of a file as hex; a named pipe, which never ends, is refused."""
    with regular_file(Path(path)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """Give the SHA-256 of a JSON value as hex; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _say_if_full(path: Path, error: Exception) -> None:
    """Say that the disk is full where a library's writer says something else.

    `torch.save` and safetensors raise errors of their own that do not tell.

    Raises:
        OSError: there is no space left beside `path`.
    """
    if not isinstance(error, OSError | SpeechFTError) and _free_bytes(path.parent) < _FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


_FULL = 1 << 20


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
