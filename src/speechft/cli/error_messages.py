"""What a person sees when a command fails: one message, the exit code, no traceback."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.escaping import printable
from speechft.core.stopping import Stopped


def explain(error: BaseException, arguments: list[str]) -> int:
    """Write the message for an error to standard error and give the exit code.

    Args:
        error: what left the command.
        arguments: the command line, without the program's name.
    """
    if "--debug" in arguments:
        traceback.print_exception(error)
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return _stopped(error, arguments)
    if isinstance(error, SpeechFTError):
        _say(f"Error: {error.render()}")
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if no_room := _no_room(error):
        number, where = no_room
        _say(f"Error: {_NO_ROOM[number]}\n  where:    {printable(where)}")
        return 1
    if isinstance(error, OSError | RuntimeError) and (what := _of_a_place(error)):
        where = getattr(error, "filename", None) or Path(str(error)).name
        _say(f"Error: {SettingsError(what, where=where, hint=_ANOTHER).render()}")
        return 2
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return _no_memory(error, arguments)
    return _unexpected(error, arguments)


def _no_room(error: BaseException) -> tuple[int, str] | None:
    """Give what there is too little of, and where; also where a job has ended with it."""
    number, where = getattr(error, "errno", None), getattr(error, "filename", None)
    if not isinstance(error, OSError) and (said := _ERRNO.search(str(error))):
        number, where = int(said[1]), said[2]
    return (int(number), str(where or "unknown")) if number in _NO_ROOM else None


def _no_memory(error: BaseException, arguments: list[str]) -> int:
    """Say what to lower; the shortest part of the message tells how much was asked for."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    asked = _MEMORY.search(str(error))
    _say(f"Error: there is not enough memory{f' ({asked[0]})' if asked else ''}")
    _say(f"  next:     {_LOWER.get(command, 'cut long utterances, or use fewer at a time')}")
    return 1


def _stopped(error: KeyboardInterrupt, arguments: list[str]) -> int:
    """Say what was kept and how to go on."""
    command = next((a for a in arguments if not a.startswith("-")), "")
    code = error.exit_code if isinstance(error, Stopped) else 130
    kept = _KEPT_BY.get(command, _KEPT)
    if "slurm" in arguments or "--launcher=slurm" in arguments:
        kept = "What was submitted goes on; the same command waits for it"
    if isinstance(error, Stopped) and error.kept:
        kept = f"{error.kept}; the same command goes on"
    if os.environ.get("RANK", "0") == "0":  # of several that train together one says it
        _say(f"Stopped. {kept}:\n  {shlex.join(['speechft', *arguments])}")
    return code


_KEPT = "What was done so far is kept; the same command goes on"
_NOTHING = "Nothing was written; the same command begins anew"
_LAST = "Nothing was kept since the last state in --out, if there is one; the same command goes on"
_WHOLE = ("convert", "data", "embed", "inspect", "leaderboard", "predict", "push", "report")
_KEPT_BY = {
    **dict.fromkeys(_WHOLE, _NOTHING),
    "merge": "Nothing was written to --out; the same command does what is missing",
    **dict.fromkeys(("finetune", "pretrain"), _LAST),
}
_MEMORY = re.compile(
    r"(?:\w+ )?(?:backend )?out of memory[^.]*|can't allocate memory[^.]*|not enough memory[^.]*"
    r"|bad_alloc|\w+_ALLOC_FAILED"
)
_SECONDS = "lower the seconds of a batch (--set seconds=…), cut long utterances, or lower cache_gb"
_BATCH = "lower batch_seconds (--set batch_seconds=…), cut long utterances, or lower store_gb"
_LOWER = {
    **dict.fromkeys(("finetune", "pretrain"), _SECONDS),
    **dict.fromkeys(("analyze", "evaluate"), _BATCH),
    **dict.fromkeys(("run", "study"), "lower finetune.seconds or evaluate.batch_seconds"),
    "predict": "lower --window or --batch-seconds",
    "merge": "another method needs less, and so do fewer encoders at a time",
}
_ERRNO = re.compile(r"OSError: \[Errno (\d+)\] [^:\n]+(?:: '([^'\n]+)')?")
_NO_ROOM = {
    errno.ENOSPC: "no space left on the disk; free some, then give the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space, then give the same command again",
    errno.EFBIG: "no file may grow this large here; see ulimit -f, or write to another place",
    errno.EMFILE: "too many open files; raise the limit with ulimit -n",
}
_ANOTHER = "check the path, or choose another"
_PLACES = {
    errno.ELOOP: "a link in this path leads back to itself",
    errno.EACCES: "no permission to read or write here",
    errno.EROFS: "this place is read-only",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EEXIST: "a part of this path is there already and is no folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.ENXIO: "this is no regular file",
    errno.ENAMETOOLONG: "a name in this path is too long",
}


def _of_a_place(error: OSError | RuntimeError) -> str | None:
    """Say what is wrong with a path that the user has named; None for any other error."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT and not _has_working_directory():
        return "the working directory is gone"
    if str(error).startswith("Symlink loop"):  # what pathlib says for ELOOP
        return _PLACES[errno.ELOOP]
    return None if number is None else _PLACES.get(number)


def _has_working_directory() -> bool:
    try:
        return bool(os.getcwd())
    except FileNotFoundError:
        return False


def _unexpected(error: BaseException, arguments: list[str]) -> int:
    text = "".join(traceback.format_exception(error))
    log = _write_log(f"speechft {shlex.join(arguments)}\n\n{text}")
    _say(f"Error: something unexpected happened: {type(error).__name__}: {error}")
    _say(f"  log:      {log or 'could not be written; add --debug before the command to see it'}")
    _say("  next:     please report it with that log; the same command goes on where it stopped")
    return 1


def _write_log(text: str) -> Path | None:
    try:
        handle, name = tempfile.mkstemp(prefix="speechft-error-", suffix=".log", text=True)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        return None
    return Path(name)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
