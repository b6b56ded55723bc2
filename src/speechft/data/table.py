"""Own data as a table: CSV, TSV or JSONL with an `audio` column and any labels.

Every problem of a table is found in one pass and named by its row.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lhotse import CutSet

from speechft.core.errors import DataError
from speechft.core.logging import get_logger
from speechft.core.nearest import nearest
from speechft.data.splitting import split_cuts
from speechft.data.utterances import Loaded, Utterance, make_cuts, tags_to_slots

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
    "split": "train, dev or test",
}
SUFFIXES = (".csv", ".tsv", ".jsonl")
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
    rows = list(_rows(path))
    if not rows:
        raise DataError("the table has no rows", where=path, expected="one row per utterance")
    _check_columns({name for _, row in rows for name in row}, path)
    utterances: list[Utterance] = []
    splits: dict[str, str] = {}
    problems: list[str] = []
    for number, row in rows:
        utterance = _utterance(row, number, path, problems)
        if utterance is not None:
            utterances.append(utterance)
            splits[utterance.id] = _split_of(row)
    cuts, bad_audio = make_cuts(utterances)
    problems = sorted(problems + bad_audio, key=_row_number)
    if not any(splits.values()):
        return Loaded(split_cuts(list(cuts.values()), seed), problems, frozenset(bad_audio))
    problems += [f"{u.where}: the split is empty" for u in utterances if not splits[u.id]]
    parts: dict[str, list[Any]] = defaultdict(list)
    for name, cut in cuts.items():
        parts[splits[name]].append(cut)
    named = {name: CutSet.from_cuts(part) for name, part in parts.items() if name}
    return Loaded(named, problems, frozenset(bad_audio), _odd_splits(named))


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


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give (line number, row); fields that have no column are under `_SURPLUS`.

    A column without a name, as pandas writes its index, is left out.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".jsonl":
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield number, _parse_json(line, number, path)
            else:
                delimiter = "\t" if path.suffix == ".tsv" else ","
                reader = csv.DictReader(file, restkey=_SURPLUS, delimiter=delimiter)
                for row in reader:
                    yield reader.line_num, {k.strip(): v for k, v in row.items() if k.strip()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            "the table cannot be read", where=path, expected="UTF-8 text", found=error
        ) from None


def _parse_json(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError("a row is not JSON", where=f"{path}, row {number}", found=error) from None
    if not isinstance(row, dict):
        raise DataError("a row is not a JSON object", where=f"{path}, row {number}", found=row)
    return row


def _check_columns(found: set[str], path: Path) -> None:
    if "audio" not in found:
        close = nearest("audio", found, 1)
        raise DataError(
            "the table has no column 'audio'",
            where=path,
            expected=", ".join(COLUMNS),
            found=", ".join(sorted(found - {_SURPLUS})) or "no header",
            hint=f"rename {close[0]!r} to 'audio'"
            if close
            else "name the columns in the first row",
        )
    for name in sorted(found - {_SURPLUS, *COLUMNS}):
        close = nearest(name, set(COLUMNS) - found, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        _log.warning("%s: the column %r is not used%s", path, name, hint)


def _utterance(
    row: Mapping[str, Any], number: int, path: Path, problems: list[str]
) -> Utterance | None:
    """Turn a row into an utterance, or add what is wrong with it."""
    where = f"row {number}"
    if _SURPLUS in row or (path.suffix != ".jsonl" and None in row.values()):
        problems.append(f"{where}: it does not have as many fields as the header")
        return None
    if not _text(row, "audio"):
        problems.append(f"{where}: the audio path is empty")
        return None
    times: dict[str, float | None] = {}
    for name in ("start", "end"):
        try:
            times[name] = float(row[name]) if row.get(name) not in (None, "") else None
        except (TypeError, ValueError):
            problems.append(f"{where}: {name} is not a number of seconds: {row[name]!r}")
            return None
    custom = _labels(row)
    words, tags = (_text(row, "text") or "").split(), custom.pop("tags", None)
    if tags is not None:
        if len(tags) != len(words):
            problems.append(f"{where}: {len(tags)} tags for {len(words)} words")
            return None
        custom["words_tags"] = [list(pair) for pair in zip(words, tags, strict=True)]
        custom["slots"] = tags_to_slots(custom["words_tags"])
    audio = path.parent / str(row["audio"]).strip()
    return Utterance(
        id=f"{path.stem}-{number:06d}",
        audio=audio,
        where=where,
        start=times["start"] or 0.0,
        end=times["end"],
        text=_text(row, "text"),
        speaker=_text(row, "speaker"),
        language=_text(row, "language"),
        custom=custom,
    )


def _labels(row: Mapping[str, Any]) -> dict[str, Any]:
    custom: dict[str, Any] = {
        name: _text(row, name) for name in ("label", "emotion", "intent") if _text(row, name)
    }
    for name in ("phonemes", "tags"):
        value = row.get(name)
        if value:
            custom[name] = value.split() if isinstance(value, str) else [str(v) for v in value]
    return custom


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return str(value).strip() or None if value is not None else None


def _split_of(row: Mapping[str, Any]) -> str:
    name = (_text(row, "split") or "").lower()
    return _SPLIT_NAMES.get(name, name)


def _row_number(problem: str) -> int:
    return int(problem.removeprefix("row ").partition(":")[0])
