"""fairseq's manifests: `NAME.tsv` with a folder and its files, texts in `NAME.wrd` or `NAME.ltr`.

https://github.com/facebookresearch/fairseq/tree/main/examples/wav2vec
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from speechft.core.errors import DataError
from speechft.core.paths import home_expanded
from speechft.data.dialects import Dialect, register
from speechft.data.table_files import Row, head_of, text_rows

# Ending → column; words before letters.
_TEXTS: Final = {".wrd": "text", ".ltr": "text", ".phn": "phonemes"}


def _fits(place: Path) -> bool:
    lines = head_of(place, 2) if place.suffix == ".tsv" and place.is_file() else []
    return (
        len(lines) == 2 and "\t" not in lines[0] and lines[1].rpartition("\t")[2].strip().isdigit()
    )


@register(
    "fairseq",
    partial(
        Dialect,
        fits=_fits,
        layout="a .tsv of a folder and FILE<tab>SAMPLES, with a .wrd, .ltr or .phn beside it",
    ),
)
def fairseq(place: Path, notes: list[str]) -> list[Row]:
    """Read a manifest and the texts beside it.

    Raises:
        DataError: the folder is not there, or texts and files differ in their number.
    """
    (_, folder), *files = text_rows(place)
    root = place.parent / home_expanded(folder)
    if not root.is_dir():
        what, hint = "the folder of the audio is not there", "write the right one into that row"
        raise DataError(what, where=f"{place}, row 1", found=folder, hint=hint)
    rows = [Row(n, {"audio": str(root.resolve() / line.split("\t")[0])}) for n, line in files]
    for path, column in ((place.with_suffix(ending), own) for ending, own in _TEXTS.items()):
        if not path.is_file() or column in rows[0].fields:
            continue
        lines = dict(text_rows(path))
        if max(lines, default=0) != len(rows):
            what, hint = "there is not a line for each file", "write both again"
            found = f"{max(lines, default=0)} lines for {len(rows)} files"
            raise DataError(what, where=path, expected=place.name, found=found, hint=hint)
        notes.append(f"the {column} of {place.name} is that of {path.name}")
        for number, row in enumerate(rows, start=1):
            line = lines.get(number, "")
            row.fields[column] = _joined(line) if path.suffix == ".ltr" else line
    return rows


def _joined(letters: str) -> str:
    """Make words of letters with spaces between, where `|` ends a word."""
    return " ".join("".join(letters.split()).replace("|", " ").split())
