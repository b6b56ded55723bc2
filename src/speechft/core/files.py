"""Files: written atomically, read, and hashed.

Everything is written beside its place and moved in, so a killed process never leaves half a file
under a final name. What is being written is named `.NAME.speechft-XXXX.tmp` and locked by its
writer, so that the leftovers of killed ones are told from the work of others.

"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.limits import parse_own_json, regular_file
from speechft.core.paths import at_work

RECORD: Final = "speechft.json"
_OURS: Final = "speechft-"
_MOVES: Final = ".moves.json"


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same folder; move it to `path` if the block ends well.

    The file is flushed to disk before it is moved. On any error it is removed.
    """
    path = Path(path)
    Path(os.path.realpath(path.parent)).mkdir(parents=True, exist_ok=True)
    try:
        with _temporary(f".{path.name}.", path.parent, folder=False) as temporary:
            try:
                yield temporary
                flush(temporary)
                temporary.chmod(0o666 & ~_umask())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        # A full disk shows in a write, which does not know the file's name.
        error.filename = error.filename or str(path)
        raise
    except Exception as error:
        _say_if_full(path, error)
        raise


@contextmanager
def atomic_dir(path: Path | str, replaces: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty folder; its files take their places in `path` if the block ends well.

    A new folder appears as a whole. Of one that is there only the files go that its record names,
    and everything else stays. First all that is replaced is removed, the record before the others;
    then the new files are moved in, large ones late and the record last. So what is seen meanwhile
    is no mixture, and does not count as done. The moves are noted before they begin: if the process
    is killed, `remove_leftovers` ends them. Until then what was there is as it was.

    Args:
        path: the folder; a link to one is followed.
        replaces: further files that may go, relative to `path`.

    Raises:
        SettingsError: there are other files in the place of new ones, or another process has made
            the folder meanwhile.
    """
    folder = Path(os.path.realpath(path))
    inside = folder.is_dir()
    home = folder if inside else folder.parent
    home.mkdir(parents=True, exist_ok=True)
    prefix = "." if inside else f".{folder.name}."
    with _temporary(prefix, home, folder=True) as staged:
        try:
            yield staged
            staged.chmod(0o777 & ~_umask())
            for file in _files_below(staged):
                file.chmod(0o666 & ~_umask())  # some writers make files for their owner alone
                flush(file)
            if inside:
                _note_moves(staged, folder, products_of(folder).union(replaces))
                _end_moves(staged, folder)
            else:
                staged.replace(folder)
        except OSError as error:
            if not inside and error.errno == errno.ENOTEMPTY:
                raise at_work(folder) from None
            if str(error.filename or staged).startswith(str(staged)):
                error.filename = str(folder)  # the user knows this place, not the one beside it
            raise
        except Exception as error:
            _say_if_full(folder, error)
            raise
        finally:
            if not (staged / _MOVES).exists():
                shutil.rmtree(staged, ignore_errors=True)


def products_of(folder: Path) -> set[str]:
    """Give the files that the record of a folder names, and the record itself; none without one."""
    try:
        products = read_json(folder / RECORD)["products"]
    except (OSError, ValueError, KeyError, TypeError):
        products = ()
    names = products if isinstance(products, dict) else ()
    inside = {n for n in names if not Path(n).is_absolute() and ".." not in Path(n).parts}
    inside = {n for n in inside if not any(map(Path.is_symlink, _folders(folder, n)))}
    return inside | ({RECORD} if (folder / RECORD).is_file() else set())


def _folders(folder: Path, name: str) -> list[Path]:
    """Give the folders between a folder and a file in it."""
    return [folder / parent for parent in Path(name).parents][:-1]


def remove_leftovers(folder: Path) -> None:
    """End what killed writers left in a folder, below and beside it; nothing else is touched.

    Moves that had begun are finished; temporary files and folders go. Those of living processes
    stay.
    """
    folder = Path(os.path.realpath(folder))
    beside = folder.parent.glob(f".{glob.escape(folder.name)}.{_OURS}*.tmp")
    for path in [*folder.rglob(f".*{_OURS}*.tmp"), *beside]:
        if path.is_symlink() or not path.exists():
            continue
        with _in_use(path) as free:
            if not free:
                continue
            if (path / _MOVES).is_file():
                _end_moves(path, path.parent)
            elif path.is_dir():
                # Moved first: a worker that outlives its parent writes nothing into it.
                gone = path.rename(path.with_name(f"{path.name.removesuffix('.tmp')}.gone.tmp"))
                shutil.rmtree(gone, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _temporary(prefix: str, home: Path, *, folder: bool) -> Iterator[Path]:
    """Give a new temporary file or folder that is marked as in use until the block ends."""
    while True:
        if folder:
            path = Path(tempfile.mkdtemp(".tmp", prefix + _OURS, home))
        else:
            handle, name = tempfile.mkstemp(".tmp", prefix + _OURS, home)
            os.close(handle)
            path = Path(name)
        with _in_use(path) as marked:
            if path.exists() and marked is not False:
                yield path
                return


@contextmanager
def _in_use(path: Path) -> Iterator[bool | None]:
    """Lock a temporary file or folder; give False where its writer lives, None without locks."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free: bool | None = True
        except BlockingIOError:
            free = False
        except OSError:
            free = None
        yield free
    finally:
        os.close(handle)


def _note_moves(staged: Path, folder: Path, replaces: Collection[str]) -> None:
    names = [file.relative_to(staged).as_posix() for file in _files_below(staged)]
    foreign = sorted(n for n in names if n not in replaces and os.path.lexists(folder / n))
    if foreign:
        raise SettingsError(
            "there are other files in the output's place",
            where=folder,
            found=", ".join(foreign[:8]),
            hint="choose another place, or move them away",
        )
    largest_last = sorted(names, key=lambda n: (n == RECORD, (staged / n).stat().st_size, n))
    note = {"replaces": sorted(replaces, key=lambda n: (n != RECORD, n)), "moves": largest_last}
    write_json(staged / _MOVES, note)


def _end_moves(staged: Path, folder: Path) -> None:
    """Do what the note says and is not done yet."""
    note = read_json(staged / _MOVES)
    for name in note["replaces"]:
        if name not in note["moves"] or (staged / name).exists():
            (folder / name).unlink(missing_ok=True)
    for name in note["moves"]:
        if (staged / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).replace(folder / name)
    for parent in sorted({(folder / name).parent for name in note["replaces"]}, reverse=True):
        if parent != folder and parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    (staged / _MOVES).unlink()
    shutil.rmtree(staged, ignore_errors=True)


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_text(path: Path | str, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write indented JSON atomically, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON."""
    return parse_own_json(regular_file(Path(path)).read_text(encoding="utf-8"))


def write_jsonl(path: Path | str, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON record per line, atomically."""
    write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))


def read_jsonl(path: Path | str) -> list[dict[str, Any]]:
    """Read one JSON record per line; blank lines are skipped."""
    lines = regular_file(Path(path)).read_text(encoding="utf-8").splitlines()
    return [parse_own_json(line) for line in lines if line.strip()]


def cache_folder() -> Path:
    """Give the folder of what this package remembers: `$SPEECHFT_CACHE`, or `~/.cache/speechft`."""
    return Path(os.environ.get("SPEECHFT_CACHE") or Path.home() / ".cache" / "speechft")


def hash_file(path: Path | str) -> str:
    """Give the SHA-256 of a file as hex; a named pipe, which never ends, is refused."""
    with regular_file(Path(path)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _say_if_full(path: Path, error: Exception) -> None:
    """Say that the disk is full where a library's writer says something else.

    `torch.save` and safetensors raise errors of their own; the former does not tell why it could
    not write.

    Raises:
        OSError: there is no space left beside `path`, or no file may grow further there.
    """
    if isinstance(error, OSError | SpeechFTError):
        return
    number = errno.ENOSPC if _free_bytes(path.parent) < _FULL else 0
    if said := _CANNOT_WRITE.search(str(error)):
        number = number or int(said[1] or errno.EFBIG)
    if number:
        raise OSError(number, os.strerror(number), str(path)) from error


_FULL = 1 << 20
_CANNOT_WRITE = re.compile(r"\(os error (\d+)\)|inline_container.*unexpected pos")


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
