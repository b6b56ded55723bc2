"""From rows to utterances: what columns mean. Every problem is found in one pass, by its row."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speechft.core.errors import DataError
from speechft.core.nearest_names import nearest
from speechft.core.paths import home_expanded
from speechft.data.column_names import ALIASES, COLUMNS
from speechft.data.slot_tags import without_marks
from speechft.data.split_names import USUAL_SPLITS, split_named
from speechft.data.splitting import split_cuts
from speechft.data.table_files import SHOWN, SURPLUS, Row, renamed
from speechft.data.utterances import FURTHER, Loaded, Utterance, load_splits, tags_to_slots

if TYPE_CHECKING:
    from lhotse import CutSet

_TEXTS: Final = tuple(
    ["audio", "text", "label", "speaker", "emotion", "intent", "language", "split"]
)
_OFTEN_AUDIO: Final = frozenset({"file", "filename", "filepath", "path", "wav"})
_MISSPELT: Final = 0.7  # how alike a name is that was meant to be another: not "mood" and "emotion"
_SAME: Final = 0.01  # seconds by which an end may differ from start + duration
_USED = (*USUAL_SPLITS, "pretrain_dev", "docs", "dev_queries", "eval_queries")


@dataclass(frozen=True)
class Table:
    """Rows of one place.

    Attributes:
        place: the file or folder that they are from; paths of audio are relative to it.
        rows: all of them.
        split: what rows belong to that do not say it themselves.
    """

    place: Path
    rows: Sequence[Row]
    split: str = ""


def load_tables(tables: Sequence[Table], notes: list[str], seed: int = 0) -> Loaded:
    """Make splits of the rows of tables.

    Args:
        tables: one; or several, each of a split.
        notes: what was found worth knowing before.
        seed: of the split where none is said.

    Raises:
        DataError: a table has no `audio` column or no rows at all.
    """
    parts: dict[str, list[Utterance]] = defaultdict(list)
    problems: list[str] = []
    order: dict[str, int] = {}
    _name_tags(tables, notes)
    for table in tables:
        if not table.rows:
            what, expected = "the table has no rows", "one row per utterance"
            raise DataError(what, where=table.place, expected=expected)
        renamed(table.rows, _in_capitals(table.rows) | ALIASES, notes)
        columns = {name for row in table.rows for name in row.fields}
        notes += _check_columns(columns, table.place)
        for row in table.rows:
            where = f"{table.place.name}, {row.where}" if len(tables) > 1 else row.where
            order[where] = len(order)
            try:
                utterance, split = _utterance(row, where, table.place), _split_of(row.fields)
            except ValueError as error:
                problems.append(f"{where}: {error}")
            else:
                parts[split or table.split].append(utterance)
    loaded = load_splits(parts, [*problems, *_twice(parts)], dict.fromkeys(notes))
    loaded.problems.sort(key=lambda problem: order.get(problem.partition(": ")[0], 0))
    without = loaded.splits.pop("", None)
    if without is not None and not loaded.splits:
        loaded.splits, more = split_cuts(list(without), seed)
    else:
        loaded.problems += [f"{u.where}: the split is empty" for u in parts[""]]
        loaded.splits = {name: cuts for name, cuts in loaded.splits.items() if len(cuts)}
        more = _odd_splits(loaded.splits)
    loaded.notes += more
    return loaded


def _in_capitals(rows: Sequence[Row]) -> dict[str, str]:
    """Give our own names for columns that are called so but for capitals, as `Audio`."""
    own = {name: name for name in COLUMNS} | ALIASES
    found = dict.fromkeys(name for row in rows for name in row.fields if name not in own)
    places = [*own]  # our own names before those of others
    known = sorted((n for n in found if n.lower() in own), key=lambda n: places.index(n.lower()))
    return {name: own[name.lower()] for name in known}


def _name_tags(tables: Sequence[Table], notes: list[str]) -> None:
    """Put plain names in the place of tags with marks, in all rows at once.

    Raises:
        DataError: tags are of several schemes.
    """
    found: list[tuple[Row, list[str]]] = []
    for row in (row for table in tables for row in table.rows):
        with suppress(ValueError):  # said with the row's other faults
            found += [(row, tags)] if (tags := _list(row.fields, "tags")) else []
    plain = without_marks([tags for _, tags in found], tables[0].place, notes)
    for (row, _), tags in zip(found, plain or (), strict=bool(plain)):
        row.fields["tags"] = tags


def _twice(parts: Mapping[str, Sequence[Utterance]]) -> Iterator[str]:
    """Name rows whose utterance has the id of another one."""
    seen: dict[str, str] = {}
    for utterance in (u for part in parts.values() for u in part):
        if utterance.id in seen:
            yield f"{utterance.where}: {seen[utterance.id]} has the id {utterance.id!r} too"
        seen.setdefault(utterance.id, utterance.where)


def _odd_splits(splits: Mapping[str, CutSet]) -> list[str]:
    """Give a line per split that no command looks for and whose name is nearly one they do."""
    lines = []
    for name, cuts in splits.items():
        head, sign, tail = name.rpartition("_")
        if name in _USED or tail in USUAL_SPLITS:
            continue
        close = [head + sign + other for other in nearest(tail, USUAL_SPLITS, 1)]
        close = close or nearest(name, _USED, 1)
        if close:
            lines.append(
                f"no command uses the split {name!r} ({len(cuts)} utterances) unless it is asked "
                f"for by name; did you mean {close[0]!r}?"
            )
    return lines


def _check_columns(found: set[str], path: Path) -> list[str]:
    """Give what looks misspelt; a table without audio is refused."""
    if "audio" not in found:
        close = nearest("audio", found, 1) or sorted(found & _OFTEN_AUDIO)[:1]
        raise DataError(
            "the table has no column 'audio'",
            where=path,
            expected=", ".join(COLUMNS),
            found=", ".join(sorted(found - {SURPLUS})) or "no header",
            hint=" ".join(f"rename {name!r} to 'audio'" for name in close)
            or "name the columns in the first row",
        )
    near = {
        name: close[0]
        for name in sorted(found - {SURPLUS, *COLUMNS})
        if (close := nearest(name, set(COLUMNS) - found, 1, _MISSPELT))
    }
    text = "only classify, regress and ctc use the column {!r}; did you mean {!r}?"
    return [text.format(name, close) for name, close in near.items()]


def _utterance(given: Row, where: str, place: Path) -> Utterance:
    """Turn a row into an utterance.

    Raises:
        ValueError: says what is wrong with the row.
    """
    row = given.fields
    if SURPLUS in row:
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
    further = {name: _plain(row[name]) for name in row if name not in COLUMNS}
    further = {name: value for name, value in further.items() if value not in (None, "", [])}
    if further:
        custom[FURTHER] = further
    if not texts["audio"]:
        raise ValueError("the audio path is empty")
    audio = _audio(texts["audio"], place if place.is_dir() else place.parent)
    name = given.id or f"{place.stem}-{given.number:06d}"
    own = (texts["text"], texts["speaker"], texts["language"])
    return Utterance(name, audio, where, *own, custom, start, end)


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
    seconds = finite_number(value)
    if seconds is None:
        raise ValueError(f"{name} is not a number of seconds: {value!r:.60}")
    return seconds


def finite_number(value: Any) -> float | None:
    """Give a number that a column holds, also as text; None where it is none, or not finite."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


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
        raise ValueError(f"{name} is {json.dumps(value)[:SHOWN]}, not a text")
    text = str(value).strip()
    if "\n" in text or "\r" in text:
        raise ValueError(f"{name} goes over several lines; a quotation mark may be missing")
    return text or None


def _plain(value: Any) -> Any:
    """Give a field of a column that no task has of its own: one text, or several; else nothing."""
    if isinstance(value, list):
        return [text for one in value if isinstance(text := _plain(one), str)]
    return str(value).strip() if isinstance(value, str | int | float) else None


def _list(row: Mapping[str, Any], name: str) -> list[str] | None:
    """Give a field that is a list of names, or names with spaces between; None where empty."""
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return [str(v) for v in value] or None
    if value is None or isinstance(value, str):
        return (value or "").split() or None
    raise ValueError(f"{name} is {json.dumps(value)[:SHOWN]}, not a list of names")


def _split_of(row: Mapping[str, Any]) -> str:
    return split_named(_text(row, "split") or "")
