"""Tables of one's own, and as NeMo, Common Voice, LJSpeech and the Hub's AudioFolder write them.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
https://keithito.com/LJ-Speech-Dataset; many corpora for speech synthesis have the same layout.
https://huggingface.co/docs/datasets/audio_dataset
A whole release of Common Voice is a corpus, `common_voice`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

from speechft.core.errors import DataError
from speechft.data.decoding import SUFFIXES as RECORDINGS
from speechft.data.decoding import left_out_of, recordings_in
from speechft.data.dialects import Dialect, register
from speechft.data.split_names import USUAL_SPLITS, split_named
from speechft.data.table_files import (
    SUFFIXES,
    SURPLUS,
    Row,
    columns_of,
    head_of,
    holds_cuts,
    read_rows,
    renamed,
    text_rows,
)

_TEXTS: Final = (".txt", ".lab", ".trn", ".json", ".TextGrid")
_METADATA: Final = ("metadata.csv", "metadata.jsonl")


def _metadata_of(place: Path) -> Path | None:
    names = [place / name for name in _METADATA] if place.is_dir() else [place]
    found = (path for path in names if path.name in _METADATA and "file_name" in columns_of(path))
    return next(found, None)


@register(
    "audiofolder",
    partial(
        Dialect,
        fits=lambda place: _metadata_of(place) is not None,
        layout="metadata.csv or metadata.jsonl with file_name, or SPLIT/LABEL/FILE",
        anywhere=True,
    ),
)
def audiofolder(place: Path, notes: list[str]) -> list[Row]:
    """Read a table, or the names of folders; files below `train`, `test` and so on are of these.

    Raises:
        DataError: a folder without a table has no audio.
    """
    table = _metadata_of(place)
    if table is not None:
        rows = list(read_rows(table, notes))
        paths = [Path(str(row.fields.get("file_name"))) for row in rows]
    else:
        paths = [path.relative_to(place) for path in recordings_in(place)]
        left_out = left_out_of(place)
        notes += [left_out] if left_out else []
        notes += _texts_beside(place, paths)
        rows = [Row(n, {"audio": str(path)}) for n, path in enumerate(paths, start=1)]
    if not rows:
        raise DataError(
            "there is no audio in the folder",
            where=place,
            expected=", ".join(RECORDINGS),
            found=left_out_of(place),
        )
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


def _texts_beside(place: Path, recordings: Iterable[Path]) -> list[str]:
    """Say that texts in files beside recordings are not read, where the first one has such."""
    first = next(iter(recordings), None)
    beside = () if first is None else (place / first.with_suffix(end) for end in _TEXTS)
    return [
        f"files beside the audio, such as {path.name}, are not read: write what they hold into "
        "metadata.csv, with columns file_name and transcription"
        for path in beside
        if path.is_file()
    ]


_OF_COMMONVOICE: Final = {"path": "audio", "sentence": "text", "client_id": "speaker"}


def _is_commonvoice(place: Path) -> bool:
    return place.suffix == ".tsv" and place.is_file() and columns_of(place) >= set(_OF_COMMONVOICE)


@register(
    "commonvoice",
    partial(
        Dialect,
        fits=_is_commonvoice,
        layout="a .tsv with path, sentence and client_id, beside the folder clips",
        splits=("train", "dev", "test"),
    ),
)
def commonvoice(place: Path, notes: list[str]) -> list[Row]:
    """Read a table; the language is that of `locale`, or the name of the folder."""
    rows = []
    for number, given, *_ in ((row.number, row.fields) for row in read_rows(place, notes)):
        fields = {own: given[name] for name, own in _OF_COMMONVOICE.items()}
        fields["audio"] = f"clips/{given['path']}"
        fields["language"] = given.get("locale") or place.resolve().parent.name
        fields |= {SURPLUS: given[SURPLUS]} if SURPLUS in given else {}
        rows.append(Row(number, fields, Path(fields["audio"]).stem))
    return rows


_LJSPEECH: Final = "metadata.csv"
_NOT_LJSPEECH: Final = {
    "audio",
    "text",
    "audio_file",
    "audio_filepath",
    "file_name",
    "transcription",
}


def _is_ljspeech(place: Path) -> bool:
    table = place / _LJSPEECH if place.is_dir() else place
    if table.suffix not in (".csv", ".txt") or not table.is_file():
        return False
    fields = "".join(head_of(table)).split("|")
    return len(fields) in (2, 3) and not _NOT_LJSPEECH & set(fields)


@register(
    "ljspeech",
    partial(
        Dialect,
        fits=_is_ljspeech,
        layout=f"{_LJSPEECH} of ID|text|normalised text, and wavs/ID.wav",
    ),
)
def ljspeech(place: Path, notes: list[str]) -> list[Row]:
    """Read a table; the text is the last field, and quotation marks are as they are."""
    rows = []
    for number, line in text_rows(place / _LJSPEECH if place.is_dir() else place):
        name, *texts = line.split("|")
        audio = name if Path(name).suffix.lower() in (".wav", ".flac") else f"wavs/{name}.wav"
        fields: dict[str, Any] = {"audio": audio, "text": "".join(texts[-1:])}
        if len(texts) == 2:
            notes.append("the text is the normalised one, the third field")
        elif len(texts) != 1:
            fields[SURPLUS] = line
        rows.append(Row(number, fields, Path(name).stem))
    return rows


def _is_nemo(place: Path) -> bool:
    plain = place.suffix in (".json", ".jsonl") and place.is_file()
    return plain and "audio_filepath" in columns_of(place)


@register(
    "nemo",
    partial(Dialect, fits=_is_nemo, layout="lines of JSON with audio_filepath, duration and text"),
)
def nemo(place: Path, notes: list[str]) -> list[Row]:
    """Read a manifest; paths are relative to it, and a folder holds one per split."""
    return renamed(read_rows(place, notes), {"lang": "language"}, notes)


def _is_table(place: Path) -> bool:
    return place.suffix in SUFFIXES and place.is_file() and not holds_cuts(place)


register(
    "table", partial(Dialect, fits=_is_table, layout="CSV, TSV or JSON lines with a column 'audio'")
)(read_rows)
