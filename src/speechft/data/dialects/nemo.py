"""NeMo's manifests: lines of JSON with `audio_filepath`, `duration`, `text` and perhaps `offset`.

https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html
"""

from __future__ import annotations

from pathlib import Path

from speechft.data.dialects import register
from speechft.data.rows import Row, columns_of, read_rows, renamed


def _fits(place: Path) -> bool:
    plain = place.suffix in (".json", ".jsonl") and place.is_file()
    return plain and "audio_filepath" in columns_of(place)


@register("nemo", fits=_fits, layout="lines of JSON with audio_filepath, duration and text")
def nemo(place: Path, notes: list[str]) -> list[Row]:
    """Read a manifest; paths are relative to it, and a folder holds one per split."""
    return renamed(read_rows(place, notes), {"lang": "language"}, notes)
