"""A study's small files: its settings, what it measured, and the page that is made from both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speechft.core.files import hash_file, read_json, read_jsonl, write_text
from speechft.core.yaml12 import dump_yaml, read_yaml
from speechft.reporting.study.page import page
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import Table, make_table
from speechft.reporting.study.verdicts import Verdict, judge

MEASUREMENTS: Final = "measurements.jsonl"
ABOUT, RECIPE, READING = "about.json", "study.yaml", "notes.md"
_STAMP: Final = "<!-- measurements "


def read_study(folder: Path) -> tuple[StudySettings, Table, list[Verdict], dict[str, Any]]:
    """Read a finished study's small files, wherever they were copied to."""
    settings = StudySettings.model_validate(read_yaml(folder / RECIPE))
    table = make_table(settings, read_jsonl(folder / MEASUREMENTS))
    return settings, table, judge(settings, table), read_json(folder / ABOUT)


def write_page(folder: Path, figures: str = "") -> str:
    """Give a finished study's page.

    Args:
        folder: its small files, with `notes.md` where somebody has written a reading.
        figures: prefix of the figures' paths as seen from the page.
    """
    settings, table, verdicts, about = read_study(folder)
    notes = folder / READING
    reading = _reading(notes.read_text("utf-8"), folder) if notes.is_file() else ""
    drawn = [(f"{figures}{name}", caption) for name, caption in about["figures"]]
    return page(settings, table, verdicts, about, drawn, reading)


def stamp_of(folder: Path) -> str:
    """Give the line that says of which measurements a study's `notes.md` speaks."""
    return f"{_STAMP}{hash_file(folder / MEASUREMENTS)[:12]} -->"


def stamp(folder: Path) -> None:
    """Write into a study's `notes.md`, if there is one, that it speaks of these measurements."""
    notes = folder / READING
    if notes.is_file():
        lines = notes.read_text("utf-8").splitlines()
        text = [line for line in lines if not line.startswith(_STAMP)]
        write_text(notes, "\n".join([stamp_of(folder), *text]) + "\n")


def write_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Write a study's settings, those that it says, as it can be read again."""
    write_text(folder / RECIPE, dump_yaml(recipe))


def _reading(notes: str, folder: Path) -> str:
    """Give the reading; say so if it is stamped as one of other measurements."""
    first, _, text = notes.partition("\n")
    if not first.startswith(_STAMP):
        return notes
    stale = "**The reading below speaks of other measurements than those of this page.**\n\n"
    return text if first.strip() == stamp_of(folder) else stale + text
