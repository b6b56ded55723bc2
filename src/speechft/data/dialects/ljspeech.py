"""LJSpeech's `metadata.csv`: ID|text|normalised text without a header, audio in `wavs/ID.wav`.

https://keithito.com/LJ-Speech-Dataset; many corpora for speech synthesis have the same layout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from speechft.data.dialects import register
from speechft.data.rows import SURPLUS, Row, head_of, text_rows

_NAME: Final = "metadata.csv"
_NAMES: Final = {"audio", "text", "audio_file", "audio_filepath", "file_name", "transcription"}


def _fits(place: Path) -> bool:
    table = place / _NAME if place.is_dir() else place
    if table.suffix not in (".csv", ".txt") or not table.is_file():
        return False
    fields = "".join(head_of(table)).split("|")
    return len(fields) in (2, 3) and not _NAMES & set(fields)


@register("ljspeech", fits=_fits, layout=f"{_NAME} of ID|text|normalised text, and wavs/ID.wav")
def ljspeech(place: Path, notes: list[str]) -> list[Row]:
    """Read a table; the text is the last field, and quotation marks are as they are."""
    rows = []
    for number, line in text_rows(place / _NAME if place.is_dir() else place):
        name, *texts = line.split("|")
        audio = name if Path(name).suffix.lower() in (".wav", ".flac") else f"wavs/{name}.wav"
        fields: dict[str, Any] = {"audio": audio, "text": "".join(texts[-1:])}
        if len(texts) == 2:
            notes.append("the text is the normalised one, the third field")
        elif len(texts) != 1:
            fields[SURPLUS] = line
        rows.append(Row(number, fields, Path(name).stem))
    return rows
