"""What a run logs of its updates, a line each: read again, and cut where a run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechft.core.files import write_jsonl
from speechft.core.limits import parse_own_json
from speechft.core.logging import get_logger

_log = get_logger(__name__)


def cut_metrics(path: Path, last_update: int) -> None:
    """Drop records after `last_update`: they were written after the state that the run resumes."""
    records = read_metrics(path) if path.is_file() else []
    damaged = sum(record is None for record in records[:-1])
    if damaged:
        _log.warning("%s: %d lines are no records, and are left out", path, damaged)
    if records:
        kept = [one for one in records if one is not None and one["update"] <= last_update]
        write_jsonl(path, kept)


def read_metrics(path: Path) -> list[dict[str, Any] | None]:
    """Give what a run has logged, line by line; None for no record, as a killed one's last line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [_record_of(line) for line in lines]


def _record_of(line: str) -> dict[str, Any] | None:
    try:
        record = parse_own_json(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("update"), int)
    return record if whole else None
