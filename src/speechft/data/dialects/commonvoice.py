"""A table of Common Voice, such as `validated.tsv`; a whole release is a corpus, `common_voice`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from speechft.data.dialects import register
from speechft.data.rows import SURPLUS, Row, columns_of, read_rows

_COLUMNS: Final = {"path": "audio", "sentence": "text", "client_id": "speaker"}


def _fits(place: Path) -> bool:
    return place.suffix == ".tsv" and place.is_file() and columns_of(place) >= set(_COLUMNS)


@register(
    "commonvoice",
    fits=_fits,
    layout="a .tsv with path, sentence and client_id, beside the folder clips",
    splits=("train", "dev", "test"),
)
def commonvoice(place: Path, notes: list[str]) -> list[Row]:
    """Read a table; the language is that of `locale`, or the name of the folder."""
    rows = []
    for number, given, *_ in ((row.number, row.fields) for row in read_rows(place, notes)):
        fields = {own: given[name] for name, own in _COLUMNS.items()}
        fields["audio"] = f"clips/{given['path']}"
        fields["language"] = given.get("locale") or place.resolve().parent.name
        fields |= {SURPLUS: given[SURPLUS]} if SURPLUS in given else {}
        rows.append(Row(number, fields, Path(fields["audio"]).stem))
    return rows
