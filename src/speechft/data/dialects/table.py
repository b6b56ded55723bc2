"""A table of one's own: CSV, TSV or JSON lines with an `audio` column and any labels."""

from __future__ import annotations

from pathlib import Path

from speechft.data.dialects import register
from speechft.data.rows import SUFFIXES, holds_cuts, read_rows


def _fits(place: Path) -> bool:
    return place.suffix in SUFFIXES and place.is_file() and not holds_cuts(place)


register("table", fits=_fits, layout="CSV, TSV or JSON lines with a column 'audio'")(read_rows)
