"""Tables as rows: CSV, TSV and JSON lines as their owners write them, before anything is meant."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal
from zlib import error as ZlibError

from speechft.core.errors import DataError
from speechft.core.limits import LINE_BYTES, parse_json, regular_file, text_lines
from speechft.data.column_names import ALIASES

SUFFIXES: Final = (".csv", ".tsv", ".jsonl")
LISTS: Final = re.compile(r"(.*_)?(recordings|supervisions|features)([_.-].*)?\.jsonl(\.gz)?")
"""Names of lhotse's lists beside cuts, as its recipes call them."""
SURPLUS: Final = "\0surplus"  # no column can be named so
SHOWN: Final = 60  # signs of a value in a message
_LINES: Final = (".jsonl", ".json", ".gz")
_DELIMITERS: Final = ",;\t|"
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_UNREADABLE: Final = (OSError, ValueError, EOFError, ZlibError)


class WrittenFloat(float):
    """A number of JSON that is text as it was written."""

    def __new__(cls, text: str) -> WrittenFloat:
        """Keep the text."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        """Give it as written."""
        return self.text


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        number: of its line.
        fields: column → value; `SURPLUS` is among them where there are more or fewer than columns.
        id: of the utterance, where the table says it.
        file: that the line is in, where a table has several.
    """

    number: int
    fields: dict[str, Any]
    id: str = ""
    file: str = ""

    @property
    def where(self) -> str:
        """Give what messages call it."""
        return f"{self.file}, row {self.number}" if self.file else f"row {self.number}"


def read_rows(path: Path, notes: list[str]) -> Iterator[Row]:
    """Give the rows of a table with a header, or of JSON lines.

    A column without a name, as pandas writes its index, is left out.

    Args:
        path: the file.
        notes: is added to.

    Raises:
        DataError: the file cannot be read.
    """
    lines, number = path.suffix in _LINES, 0
    try:
        if lines:
            for number, line in text_lines(path):
                row = parse_json(line, WrittenFloat)
                if not isinstance(row, dict):
                    raise ValueError(f"not a JSON object: {line[:SHOWN]}")
                yield Row(number, row)
            return
        with regular_file(path).open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline(LINE_BYTES), path, notes)
            file.seek(0)
            # Tables with tabs hold quotation marks as they are, and no line breaks.
            plain: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
            reader = csv.reader(file, delimiter=delimiter, quoting=plain, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            if twice := [name for name in columns if name and columns.count(name) > 1]:
                raise ValueError(f"two columns are called {twice[0]!r}")
            for fields in reader:
                number = reader.line_num
                if any(field.strip() for field in fields):
                    yield Row(number, _row(columns, fields, unquote=delimiter == "\t"))
    except (OSError, ValueError, EOFError, csv.Error) as error:
        coded = isinstance(error, UnicodeDecodeError)
        hint = "save the table as UTF-8 (in Excel: CSV UTF-8)" if coded else None
        if isinstance(error, csv.Error):
            number, hint = number + 1, "a quotation mark may be missing"
        raise DataError(
            "the table cannot be read",
            where=f"{path}, row {_undecoded(path) if coded else number or 1}",
            expected="JSON objects" if lines else "UTF-8 text with a header",
            found=error,
            hint=hint,
        ) from None


def head_of(path: Path, count: int = 1) -> list[str]:
    """Give the first lines of a text that are not blank; none where it cannot be read."""
    try:
        return [line for _, line in islice(text_lines(path), count)]
    except _UNREADABLE:
        return []


def columns_of(path: Path) -> set[str]:
    """Give the columns of a table by its first line; none where it is no table."""
    if path.suffix in _LINES:
        try:
            row = parse_json("".join(head_of(path)))
        except ValueError:
            row = None
        return set(row) if isinstance(row, dict) else set()
    head = "".join(head_of(path)) if path.suffix in SUFFIXES else ""
    return max(({*_names(head, sign)} for sign in _DELIMITERS), key=len)


def holds_cuts(path: Path) -> bool:
    """Tell whether JSON lines are lhotse's cuts and no rows, by the first; what is packed is cuts.

    A cut is told from a row that has an id and times of its own, and from a supervision.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return False
    keys = columns_of(path)
    cut = {"id", "start", "duration"} <= keys and not {"audio", "recording_id", *ALIASES} & keys
    return (
        cut
        or "tracks" in keys
        or (not keys and path.suffix == ".gz" and not LISTS.fullmatch(path.name))
    )


def text_rows(path: Path) -> list[tuple[int, str]]:
    """Give the lines of a text that are not blank, each with its number.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return list(text_lines(path))
    except _UNREADABLE as error:
        what = "the text cannot be read"
        raise DataError(what, where=path, expected="UTF-8 text", found=error) from None


def renamed(rows: Iterable[Row], names: Mapping[str, str], notes: list[str]) -> list[Row]:
    """Take columns that are called otherwise for ours, where ours are not there, and say so.

    Args:
        rows: of one table.
        names: other name → own name.
        notes: is added to.
    """
    whole = list(rows)
    found = {name for row in whole for name in row.fields}
    for other, own in names.items():
        if other in found and own not in found:
            notes.append(f"the column {other!r} is taken for {own!r}")
            for row in whole:
                if other in row.fields:
                    row.fields[own] = row.fields.pop(other)
            found = found - {other} | {own}
    return whole


def _undecoded(path: Path) -> int:
    """Give the first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES), b""), 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _delimiter(header: str, path: Path, notes: list[str]) -> str:
    """Give what stands between the fields: that of the file's kind, or what the header shows."""
    usual: str = "\t" if path.suffix == ".tsv" else ","
    known = {"audio", *ALIASES}
    signs = usual + _DELIMITERS
    names = {sign: {name.lower() for name in _names(header, sign)} for sign in signs}
    sign = next((s for s in signs if known & names[s]), max(signs, key=lambda s: len(names[s])))
    if sign != usual:
        notes.append(f"fields are separated by {sign!r}")
    return sign


def _names(header: str, sign: str) -> list[str]:
    return [name.strip(' "\r\n\ufeff') for name in header.split(sign)]


def _row(columns: Sequence[str], fields: Sequence[str], *, unquote: bool) -> dict[str, Any]:
    if unquote:
        fields = [f[1:-1].replace('""', '"') if _QUOTED.fullmatch(f) else f for f in fields]
    row: dict[str, Any] = dict.fromkeys(columns)
    row |= zip(columns, fields, strict=False)
    row.pop("", None)
    return row | ({} if len(fields) == len(columns) else {SURPLUS: len(fields)})
