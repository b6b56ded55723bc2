"""An alpha that data chose, as a merge reads it: a file that whoever chose it has written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import CheckpointError
from speechft.core.files import read_json
from speechft.core.text import markdown_text

CHOICE: Final = "alpha.json"
KIND: Final = "speechft-alpha"
Chosen = Mapping[str, Any]
"""What was chosen: `alpha`, text as of `--alpha`; `why`; `columns` and `rows` of the neighbours."""


def read_choice(path: Path) -> Chosen:
    """Read what was chosen.

    Raises:
        CheckpointError: the file is not there, or no choice of an alpha.
    """
    try:
        values = read_json(path)
        if values["kind"] != KIND:
            raise ValueError(values["kind"])
        str(values["alpha"]), str(values["why"]), table_of(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            "this is no choice of an alpha",
            where=path,
            expected=f"{CHOICE}, as `speechft merge --alpha auto` leaves it in its folder",
            found=repr(error),
        ) from None
    return dict(values)


def table_of(chosen: Chosen) -> str:
    """Give the neighbours as a table in Markdown."""
    lines = [chosen["columns"], *(map(cell_text, row) for row in chosen["rows"])]
    rows = ["| " + " | ".join(markdown_text(str(v)) for v in line) + " |" for line in lines]
    return "\n".join([rows[0], "|" + " ---: |" * len(chosen["columns"]), *rows[1:]])


def said_of(chosen: Chosen) -> list[str]:
    """Give the paragraphs of a card that say which alpha it is, why, and what others had."""
    return ["## Why this alpha", markdown_text(str(chosen["why"])), table_of(chosen)]


def cell_text(value: Any) -> str:
    """Give a value of the table as text."""
    if isinstance(value, int | float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
