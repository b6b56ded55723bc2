"""Own data as a table: CSV, TSV or JSONL with an `audio` column and any labels.

Every problem of a table is found in one pass and named by its row.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal
from zlib import error as ZlibError

from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.core.limits import LINE_BYTES, parse_json, regular_file, text_lines
from speechft.core.logging import get_logger
from speechft.core.nearest import nearest
from speechft.core.places import home_expanded
from speechft.data.splitting import split_cuts
from speechft.data.utterances import Loaded, Utterance, load_splits, tags_to_slots

COLUMNS: dict[str, str] = {
    "audio": "path of the audio file, relative to the table",
    "text": "words",
    "label": "class of a task of one's own",
    "speaker": "name of the speaker",
    "emotion": "class of the emotion",
    "intent": "class of the intent",
    "phonemes": "phonemes, separated by spaces",
    "tags": "one slot name or O for every word of the text, separated by spaces",
    "language": "code such as en",
    "start": "seconds where the utterance begins",
    "end": "seconds where it ends",
    "duration": "seconds that it lasts, in place of end",
    "split": "train, dev or test",
}
# What NeMo's manifests and the Hub's AudioFolder call them.
ALIASES: Final = {
    "audio_filepath": "audio",
    "file_name": "audio",
    "offset": "start",
    "transcription": "text",
}
SUFFIXES = (".csv", ".tsv", ".jsonl")
_TEXTS: Final = tuple(
    ["audio", "text", "label", "speaker", "emotion", "intent", "language", "split"]
)
_DELIMITERS: Final = ",;\t|"
_QUOTED: Final = re.compile(r'"(?:[^"]|"")*"')
_SAME: Final = 0.01  # seconds by which an end may differ from start + duration
_SHOWN: Final = 60  # signs of a value in a message
_SPLIT_NAMES = {"valid": "dev", "validation": "dev", "val": "dev", "training": "train"}
# What commands look for; task and language may stand before the first four ("sid_train").
_COMMON = ("train", "dev", "test", "pretrain")
_USED = (*_COMMON, "pretrain_dev", "docs", "dev_queries", "eval_queries")
_SURPLUS = "\0surplus"  # no column can be named so
_log = get_logger(__name__)


def read_table(path: Path, seed: int = 0) -> Loaded:
    """Read a table.

    Args:
        path: `.csv`, `.tsv` or `.jsonl`.
        seed: of the split where there is no `split` column.

    Raises:
        DataError: the file cannot be read, has no `audio` column or no rows at all.
    """
    notes: list[str] = []
    rows = list(_rows(path, notes))
    if not rows:
        raise DataError("the table has no rows", where=path, expected="one row per utterance")
    _check_columns(_renamed(rows, notes), path)
    parts: dict[str, list[Utterance]] = defaultdict(list)
    problems: list[str] = []
    for number, row in rows:
        try:
            utterance = _utterance(row, number, path)
        except ValueError as error:
            problems.append(f"row {number}: {error}")
        else:
            parts[_split_of(row)].append(utterance)
    loaded = load_splits(parts, problems, notes)
    loaded.problems.sort(key=_row_number)
    without = loaded.splits.pop("", None)
    if without is not None and not loaded.splits:
        loaded.splits, more = split_cuts(list(without), seed)
    else:
        loaded.problems += [f"{u.where}: the split is empty" for u in parts[""]]
        loaded.splits = {name: cuts for name, cuts in loaded.splits.items() if len(cuts)}
        more = _odd_splits(loaded.splits)
    loaded.notes += more
    return loaded


def holds_cuts(path: Path) -> bool:
    """Tell whether JSON lines are lhotse's cuts and no rows, by the first; what is packed is cuts.

    A cut is told from a row that has an id and times of its own.
    """
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        return False
    try:
        record = parse_json(next(text_lines(path))[1])
    except (OSError, ValueError, EOFError, ZlibError, StopIteration):
        return path.name.endswith(".gz")
    keys = set(record) if isinstance(record, dict) else set()
    cut = {"id", "start", "duration"} <= keys and not {"audio", *ALIASES} & keys
    return cut or "tracks" in keys


def _odd_splits(splits: Mapping[str, CutSet]) -> list[str]:
    """Give a line per split that no command looks for and whose name is nearly one they do."""
    lines = []
    for name, cuts in splits.items():
        head, sign, tail = name.rpartition("_")
        if name in _USED or tail in _COMMON:
            continue
        close = [head + sign + other for other in nearest(tail, _COMMON, 1)]
        close = close or nearest(name, _USED, 1)
        if close:
            lines.append(
                f"no command uses the split {name!r} ({len(cuts)} utterances) unless it is asked "
                f"for by name; did you mean {close[0]!r}?"
            )
    return lines


def _rows(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give (line number, row); fields that have no column are under `_SURPLUS`.

    A column without a name, as pandas writes its index, is left out.
    """
    number = 0
    try:
        if path.suffix == ".jsonl":
            for number, line in text_lines(path):
                row = parse_json(line)
                if not isinstance(row, dict):
                    raise ValueError(f"not a JSON object: {line[:_SHOWN]}")
                yield number, row
            return
        with regular_file(path).open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline(LINE_BYTES), path, notes)
            file.seek(0)
            # Tables with tabs hold quotation marks as they are, and no line breaks.
            plain: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
            reader = csv.reader(file, delimiter=delimiter, quoting=plain, strict=True)
            columns = [name.strip() for name in next(reader, [])]
            for fields in reader:
                number = reader.line_num
                if fields:
                    yield number, _row(columns, fields, unquote=delimiter == "\t")
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise DataError(
            "the table cannot be read",
            where=f"{path}, row {number + 1 if isinstance(error, csv.Error) else number or 1}",
            expected="JSON objects" if path.suffix == ".jsonl" else "UTF-8 text with a header",
            found=error,
            hint="a quotation mark may be missing" if isinstance(error, csv.Error) else None,
        ) from None


def _delimiter(header: str, path: Path, notes: list[str]) -> str:
    """Give what stands between the fields: that of the file's kind, or what the header shows."""
    usual: str = "\t" if path.suffix == ".tsv" else ","
    for sign in usual + _DELIMITERS:
        if {"audio", *ALIASES} & {name.strip(' "\r\n') for name in header.split(sign)}:
            if sign != usual:
                notes.append(f"fields are separated by {sign!r}")
            return sign
    return usual


def _row(columns: Sequence[str], fields: Sequence[str], *, unquote: bool) -> dict[str, Any]:
    if unquote:
        fields = [f[1:-1].replace('""', '"') if _QUOTED.fullmatch(f) else f for f in fields]
    row: dict[str, Any] = dict.fromkeys(columns)
    row |= zip(columns, fields, strict=False)
    row.pop("", None)
    return row | ({_SURPLUS: fields[len(columns) :]} if len(fields) > len(columns) else {})


def _renamed(rows: Sequence[tuple[int, dict[str, Any]]], notes: list[str]) -> set[str]:
    """Take columns that other tools call otherwise for ours; give the names that are there."""
    found = {name for _, row in rows for name in row}
    for other, own in ALIASES.items():
        if other in found and own not in found:
            notes.append(f"the column {other!r} is taken for {own!r}")
            for _, row in rows:
                if other in row:
                    row[own] = row.pop(other)
            found = found - {other} | {own}
    return found


def _check_columns(found: set[str], path: Path) -> None:
    if "audio" not in found:
        close = nearest("audio", found, 1)
        raise DataError(
            "the table has no column 'audio'",
            where=path,
            expected=", ".join(COLUMNS),
            found=", ".join(sorted(found - {_SURPLUS})) or "no header",
            hint=" ".join(f"rename {name!r} to 'audio'" for name in close)
            or "name the columns in the first row",
        )
    for name in sorted(found - {_SURPLUS, *COLUMNS}):
        close = nearest(name, set(COLUMNS) - found, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        _log.warning("%s: the column %r is not used%s", path, name, hint)


def _utterance(row: Mapping[str, Any], number: int, path: Path) -> Utterance:
    """Turn a row into an utterance.

    Raises:
        ValueError: says what is wrong with the row.
    """
    if _SURPLUS in row or (path.suffix != ".jsonl" and None in row.values()):
        raise ValueError("it does not have as many fields as the header")
    texts = {name: _text(row, name) for name in _TEXTS}
    phonemes, tags = _list(row, "phonemes"), _list(row, "tags")
    start, end = _times(row)
    custom: dict[str, Any] = {k: texts[k] for k in ("label", "emotion", "intent") if texts[k]}
    if phonemes:
        custom["phonemes"] = phonemes
    if tags is not None:
        words = (texts["text"] or "").split()
        if len(tags) != len(words):
            raise ValueError(f"{len(tags)} tags for {len(words)} words")
        custom["words_tags"] = [list(pair) for pair in zip(words, tags, strict=True)]
        custom["slots"] = tags_to_slots(custom["words_tags"])
    if not texts["audio"]:
        raise ValueError("the audio path is empty")
    name, audio = f"{path.stem}-{number:06d}", _audio(texts["audio"], path.parent)
    own = (texts["text"], texts["speaker"], texts["language"])
    return Utterance(name, audio, f"row {number}", *own, custom, start, end)


def _times(row: Mapping[str, Any]) -> tuple[float, float | None]:
    """Give start and end in seconds; the end is that of the file where none is said."""
    start, end, duration = (_seconds(row, name) for name in ("start", "end", "duration"))
    start = start or 0.0
    if duration is not None and end is not None and abs(start + duration - end) > _SAME:
        raise ValueError(f"end {end:g} is not start + duration, {start + duration:g}")
    return start, start + duration if end is None and duration is not None else end


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(f"{name} is not a number of seconds: {value!r}")
    return seconds


def _audio(text: str, folder: Path) -> Path:
    """Find the file that a row names: in the table's folder, at home (`~`), or as Windows says."""
    path = folder / home_expanded(text)
    if "\\" in text and not path.exists():
        return folder / home_expanded(text.replace("\\", "/"))
    return path


def _text(row: Mapping[str, Any], name: str) -> str | None:
    """Give a field that is text, as written.

    Raises:
        ValueError: it is a value of another kind, or goes over several lines.
    """
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name} is {json.dumps(value)[:_SHOWN]}, not a text")
    text = str(value).strip()
    if "\n" in text or "\r" in text:
        raise ValueError(f"{name} goes over several lines; a quotation mark may be missing")
    return text or None


def _list(row: Mapping[str, Any], name: str) -> list[str] | None:
    """Give a field that is a list of names, or names with spaces between; None where empty."""
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return [str(v) for v in value] or None
    if value is None or isinstance(value, str):
        return (value or "").split() or None
    raise ValueError(f"{name} is {json.dumps(value)[:_SHOWN]}, not a list of names")


def _split_of(row: Mapping[str, Any]) -> str:
    name = (_text(row, "split") or "").lower()
    return _SPLIT_NAMES.get(name, name)


def _row_number(problem: str) -> int:
    return int(problem.removeprefix("row ").partition(":")[0])
