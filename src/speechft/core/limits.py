"""How much a reader takes from a file that others wrote: one table, and the readers of text.

Whatever is beyond is refused before it costs time or memory: a few bytes of gzip may hold
terabytes, and a named pipe never ends.
"""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, NoReturn

LINE_BYTES: Final = 16 << 20
"""Of one line of a text; cuts of an hour with every phone have 2 MB."""
UNPACKED_BYTES: Final = 32 << 20
"""Of an unpacked file, however well it is packed."""
UNPACKED_TIMES: Final = 50
"""How many times its size an unpacked file may have beyond that; cuts have 10 to 20."""
NESTED: Final = 64
"""Levels of lists and objects in one another."""
YAML_VALUES: Final = 20_000
"""Of a YAML file, those behind an alias counted each time."""
DIGITS: Final = 300
"""Of one number."""
NAME_BYTES: Final = 200
"""Of the name of a file."""
LONGEST_SECONDS: Final = 120.0
"""Of an utterance that is encoded whole, unless a command is told otherwise."""
_BLOCK: Final = 1 << 20
_HOLDERS: Final = (dict, list)


def regular_file(path: Path) -> Path:
    """Give the path of a file, or of a link to one.

    Raises:
        OSError: there is no such file, or it is a folder, a named pipe or a device.
    """
    if not path.stat() or not path.is_file():
        number = errno.EISDIR if path.is_dir() else errno.ENXIO
        raise OSError(number, "this is no regular file", str(path))
    return path


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give the lines of UTF-8 text that are not blank, each with its number; `.gz` is unpacked.

    Raises:
        OSError: the file cannot be read, or is no file.
        ValueError: it is not UTF-8, a line is too long, or too much is packed in it.
        EOFError: it is cut short.
    """
    regular_file(path)
    if path.suffix == ".gz":
        _refuse_bomb(path)
    with _opened(path) as file:
        for number in range(1, 1 << 62):
            line = file.readline(LINE_BYTES)
            if not line:
                return
            if len(line) >= LINE_BYTES:
                raise ValueError(f"line {number} has more than {LINE_BYTES >> 20} MB")
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if text:
                yield number, text


def parse_json(text: str, number: Callable[[str], float] = float) -> Any:
    """Read a JSON value; NaN and infinities are no JSON, and no object has a name twice.

    Args:
        text: of the value.
        number: makes a number with a point or an exponent of its text.

    Raises:
        ValueError: it is not JSON, or beyond a limit.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_int,
            parse_float=number,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise ValueError(f"more than {NESTED} levels in one another") from None
    _check_depth(value)
    if "\\ud" in text.lower():  # half of a pair, which is no text
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_own_json(text: str | bytes) -> Any:
    """Read a JSON value that this package or a library has written, NaN and infinities included.

    Raises:
        ValueError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("too many levels in one another") from None


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]  # GzipFile reads bytes


def _refuse_bomb(path: Path) -> None:
    most = max(UNPACKED_BYTES, UNPACKED_TIMES * path.stat().st_size)
    found = 0
    with gzip.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found += len(block)
            if found > most:
                raise ValueError(f"it unpacks to more than {most >> 20} MB")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return found


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    """Refuse what is nested too deeply, level by level."""
    level = [value]
    for _ in range(NESTED):
        inside = (v.values() if type(v) is dict else v for v in level if type(v) in _HOLDERS)
        level = [item for item in chain.from_iterable(inside) if type(item) in _HOLDERS]
        if not level:
            return
    raise ValueError(f"more than {NESTED} levels in one another")
