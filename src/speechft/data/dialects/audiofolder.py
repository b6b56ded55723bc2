"""The Hub's AudioFolder: `metadata.csv` or `metadata.jsonl` with `file_name` and `transcription`.

Without such a file the folder of an audio file is its label, as in `train/dog/1.wav`.
https://huggingface.co/docs/datasets/audio_dataset
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from speechft.core.errors import DataError
from speechft.data.dialects import register
from speechft.data.rows import Row, columns_of, read_rows
from speechft.data.table import USUAL_SPLITS, split_named

_NAMES: Final = ("metadata.csv", "metadata.jsonl")
_AUDIO: Final = (".wav", ".flac", ".mp3", ".ogg", ".opus")


def _table(place: Path) -> Path | None:
    names = [place / name for name in _NAMES] if place.is_dir() else [place]
    found = (path for path in names if path.name in _NAMES and "file_name" in columns_of(path))
    return next(found, None)


@register(
    "audiofolder",
    fits=lambda place: _table(place) is not None,
    layout="metadata.csv or metadata.jsonl with file_name, or SPLIT/LABEL/FILE",
    anywhere=True,
)
def audiofolder(place: Path, notes: list[str]) -> list[Row]:
    """Read a table, or the names of folders; files below `train`, `test` and so on are of these.

    Raises:
        DataError: a folder without a table has no audio.
    """
    table = _table(place)
    if table is not None:
        rows = list(read_rows(table, notes))
        paths = [Path(str(row.fields.get("file_name"))) for row in rows]
    else:
        found = (p for p in sorted(place.rglob("*")) if p.suffix.lower() in _AUDIO and p.is_file())
        paths = [path.relative_to(place) for path in found]
        rows = [Row(n, {"audio": str(path)}) for n, path in enumerate(paths, start=1)]
    if not rows:
        raise DataError("there is no audio in the folder", where=place, expected=", ".join(_AUDIO))
    below = all(
        len(path.parts) > 1 and split_named(path.parts[0]) in USUAL_SPLITS for path in paths
    )
    for row, path in zip(rows, paths, strict=True):
        if below:
            row.fields.setdefault("split", path.parts[0])
        labels = path.parts[1 if below else 0 : -1]
        if table is None and labels:
            row.fields["label"] = labels[-1]
    return rows
