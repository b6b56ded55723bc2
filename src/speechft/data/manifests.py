"""Lhotse cuts from files or a folder, brought to one utterance per cut."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse import CutSet, SupervisionSegment
from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.files import read_json
from speechft.data.splitting import split_cuts
from speechft.data.utterances import DIARIZATION, Loaded

SUFFIXES = (".jsonl.gz", ".jsonl")
# What `prepare` leaves beside the cuts.
REPORT = "check.json"


def is_manifest(path: Path) -> bool:
    """Tell whether a file holds lhotse cuts (its first record has an id, a start, a duration)."""
    if not path.name.endswith(SUFFIXES):
        return False
    try:
        record = json.loads(_first_line(path))
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError):
        return path.name.endswith(".gz")
    return isinstance(record, dict) and {"id", "start", "duration"} <= set(record)


def read_manifest(path: Path, seed: int = 0) -> Loaded:
    """Read one file of cuts and split it as `splitting.split_cuts` does."""
    return Loaded(split_cuts(_read(path), seed))


def read_folder(folder: Path) -> Loaded:
    """Read a folder that holds one file of cuts per split, such as `train.jsonl.gz`.

    Raises:
        DataError: there is no such file, or one cannot be read.
    """
    found = {}
    for place in (folder, folder / "cuts"):
        for path in sorted(place.glob("*.jsonl*")):
            if path.name.endswith(SUFFIXES) and is_manifest(path):
                found[_split_name(path)] = path
    if not found:
        raise DataError(
            "the folder holds no cuts",
            where=folder,
            expected="one lhotse manifest per split, such as train.jsonl.gz",
            hint="for a known corpus write NAME:FOLDER, for own data give a table",
        )
    splits = {name: CutSet.from_cuts(_read(path)) for name, path in found.items()}
    return Loaded(splits, official=_is_official(folder))


def _is_official(folder: Path) -> bool:
    """Tell whether `prepare` made the folder of a known corpus."""
    try:
        report = read_json(folder / REPORT)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        return False
    return isinstance(report, dict) and bool(report.get("official"))


def _split_name(path: Path) -> str:
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return stem.removeprefix("cuts").strip("_-") or "train"


def _first_line(path: Path) -> str:
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.readline()
    with path.open(encoding="utf-8") as plain:
        return plain.readline()


def _read(path: Path) -> list[Cut]:
    try:
        cuts = list(CutSet.from_file(path))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise DataError(
            "the cuts cannot be read",
            where=path,
            expected="a lhotse manifest of cuts",
            found=f"{type(error).__name__}: {error}",
        ) from None
    if not cuts:
        raise DataError("there are no cuts in the file", where=path)
    return [_locate(cut, path.parent) for cut in _one_utterance_each(cuts)]


def _one_utterance_each(cuts: Sequence[Cut]) -> list[Cut]:
    """Cut up cuts with several supervisions; give an empty one to cuts without (audio alone).

    Recordings for diarization, marked by `custom["diarization"]`, stay whole.
    """
    result: list[Cut] = []
    for cut in cuts:
        if len(cut.supervisions) == 1 or (cut.custom or {}).get(DIARIZATION):
            result.append(cut)
        elif cut.supervisions:
            result += cut.trim_to_supervisions(keep_overlapping=False)
        else:
            blank: Any = SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration)
            result.append(replace(cut, supervisions=[blank]))
    return result


def _locate(cut: Cut, folder: Path) -> Cut:
    """Look for relative audio paths beside the manifest first, then from the working directory."""
    recording: Any = getattr(cut, "recording", None)
    sources = recording.sources if recording is not None else []
    if not any(s.type == "file" and (folder / s.source).exists() for s in sources):
        return cut
    located = [
        replace(s, source=str(folder / s.source)) if s.type == "file" else s for s in sources
    ]
    changed: Any = replace(recording, sources=located)
    return replace(cut, recording=changed)
