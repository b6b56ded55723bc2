"""Lhotse cuts from files or a folder, brought to one utterance per cut.

Files are opened here and never by lhotse, for which a name or a source may be a command or a URL.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import error as ZlibError

from speechft.core.errors import DataError
from speechft.core.files import read_json
from speechft.core.limits import parse_json, regular_file, text_lines
from speechft.core.registry import deferred
from speechft.data.cut_records import check_record
from speechft.data.external_programs import Runner, is_command
from speechft.data.slot_tags import name_tags
from speechft.data.split_names import USUAL_SPLITS, split_named
from speechft.data.splitting import split_cuts
from speechft.data.table_files import holds_cuts
from speechft.data.utterances import DIARIZATION, Loaded

if TYPE_CHECKING:
    import lhotse
    from lhotse.cut import Cut
else:
    lhotse = deferred("lhotse")

SUFFIXES: Final = (".jsonl.gz", ".jsonl")
# What `prepare` leaves beside the cuts.
REPORT: Final = "check.json"
# Seconds by which a supervision may differ from its cut and still be all of it.
_SAME: Final = 0.01
# Fields of a supervision that are names: of nothing but spaces they are none, as in tables.
_NAMES: Final = ("speaker", "language", "gender")
_KINDS: Final = ("MonoCut", "MultiCut", "Cut")
_UNREADABLE: Final = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, AssertionError, AttributeError),
    ZlibError,
)


def read_manifest(path: Path, seed: int = 0, run: Runner | None = None) -> Loaded:
    """Read one file of cuts and split it as `splitting.split_cuts` does.

    Args:
        path: the file.
        seed: of the split.
        run: runs the commands that audio comes from; without it they are refused.

    Raises:
        DataError: it cannot be read.
    """
    cuts, problems = _read(path, run)
    notes: list[str] = []
    name_tags(cuts, path, notes)
    splits, more = split_cuts(cuts, seed)
    return Loaded(splits, problems, notes=notes + more)


def read_folder(folder: Path, seed: int = 0, run: Runner | None = None) -> Loaded | None:
    """Read a folder that holds one file of cuts per split, such as `train.jsonl.gz`.

    One file alone whose name says no split, such as `cuts.jsonl.gz`, is split as by itself.

    Returns:
        what is in it; None where no file holds cuts.

    Raises:
        DataError: a file cannot be read.
    """
    found: dict[str, Path] = {}
    for place in (folder, folder / "cuts"):
        for path in sorted(place.glob("*.jsonl*")):
            if path.is_file() and holds_cuts(path):
                other = found.setdefault(_split_name(path), path)
                if other != path:
                    raise DataError(
                        f"two files hold cuts of the split {_split_name(path)!r}",
                        where=folder,
                        expected="one file per split",
                        found=f"{other.relative_to(folder)}, {path.relative_to(folder)}",
                        hint="remove one, or give DATA as a folder that holds only one of them",
                    )
    if not found:
        return None
    if len(found) == 1 and not _said_split(alone := next(iter(found.values()))):
        return read_manifest(alone, seed, run)
    splits, problems = {}, []
    for name, path in found.items():
        cuts, bad = _read(path, run)
        splits[name] = lhotse.CutSet.from_cuts(cuts)
        problems += [f"{path.name}, {problem}" for problem in bad]
    notes: list[str] = []
    name_tags((cut for cuts in splits.values() for cut in cuts), folder, notes)
    return Loaded(splits, problems, notes=notes, official=_is_official(folder))


def read_cuts(path: Path) -> list[Cut]:
    """Read the cuts of a file as they are written.

    Raises:
        DataError: it cannot be read, or a cut is of another kind than `MonoCut` and `MultiCut`.
    """
    return [cut for _, cut in _cuts(path)]


def write_cuts(path: Path, cuts: Iterable[Cut]) -> None:
    """Write cuts as packed lines of JSON; the same cuts give the same bytes."""
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for cut in cuts:
            file.write(json.dumps(cut.to_dict(), ensure_ascii=False).encode() + b"\n")


def _is_official(folder: Path) -> bool:
    """Tell whether `prepare` made the folder of a known corpus."""
    try:
        report = read_json(regular_file(folder / REPORT))
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and bool(report.get("official"))


def _said_split(path: Path) -> str:
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
    return stem.removeprefix("cuts").strip("_-")


def _split_name(path: Path) -> str:
    name = _said_split(path) or "train"
    meant = split_named(name)
    return meant if meant in USUAL_SPLITS else name


def _cuts(path: Path) -> list[tuple[int, Cut]]:
    """Give the cuts of a file, each with the number of its line."""
    number = 0
    found = []
    try:
        for number, line in text_lines(path):
            record = parse_json(line)
            kind = record.get("type", "MixedCut" if "tracks" in record else "MonoCut")
            if kind not in _KINDS:
                raise ValueError(f"a {kind}; write what is heard of it with CutSet.save_audios")
            check_record(record)
            for supervision in record.get("supervisions", ()):
                blank = [name for name in _NAMES if (supervision.get(name) or "").isspace()]
                supervision.update(dict.fromkeys(blank))
            found.append((number, lhotse.serialization.deserialize_item({**record, "type": kind})))
    except _UNREADABLE as error:
        raise DataError(
            "the cuts cannot be read",
            where=f"{path}, line {number}" if number else path,
            expected="a lhotse manifest of cuts of one recording each",
            found=f"{type(error).__name__}: {error}",
        ) from None
    return found


def _read(path: Path, run: Runner | None) -> tuple[list[Cut], list[str]]:
    """Give the utterances of a file, and a line for each cut that cannot be used."""
    from speechft.data.audio import fault_of_audio

    numbered = _cuts(path)
    if not numbered:
        raise DataError("there are no cuts in the file", where=path, hint="write it again")
    cuts: list[Cut] = []
    problems = []
    for line, cut in numbered:
        try:
            located = _locate(run(cut) if run and is_command(cut) else cut, path.parent)
            fault = fault_of_audio(located)
            cuts += [] if fault else _one_utterance_each(located)
        except DataError as error:
            fault = f"{error.what} ({error.found})"
        except _UNREADABLE as error:
            fault = f"its times do not belong together ({error})"
        if fault:
            problems.append(f"line {line}, cut {cut.id}: {fault}")
    return cuts, problems


def _one_utterance_each(cut: Cut) -> list[Cut]:
    """Cut up a cut with several supervisions, or with one for a part of it.

    A cut without a supervision (audio alone) gets an empty one. Recordings for diarization, marked
    by `custom["diarization"]`, stay whole.

    Raises:
        DataError: a supervision goes beyond its cut, so that not all of it is heard.
    """
    if (cut.custom or {}).get(DIARIZATION):
        return [cut]
    if not cut.supervisions:
        blank: Any = lhotse.SupervisionSegment(cut.id, cut.recording_id, 0.0, cut.duration)
        return [replace(cut, supervisions=[blank])]
    for supervision in cut.supervisions:
        if supervision.start < -_SAME or supervision.end > cut.duration + _SAME:
            raise DataError(
                "its supervision goes beyond it",
                found=f"{supervision.start:g} to {supervision.end:g} of {cut.duration:g} s",
            )
    first, *more = cut.supervisions
    if not more and first.start <= _SAME and first.end >= cut.duration - _SAME:
        return [cut]
    # Supervisions of several channels are a conversation with a channel per speaker.
    same = all(other.channel == first.channel for other in more)
    trimmed = cut.trim_to_supervisions(keep_overlapping=False, keep_all_channels=same)
    return list(trimmed) if more else [one.with_id(cut.id) for one in trimmed]


def _locate(cut: Cut, folder: Path) -> Cut:
    """Look for relative audio paths beside the manifest first, then from the working directory."""
    recording: Any = getattr(cut, "recording", None)
    sources = recording.sources if recording is not None else []
    if not any(s.type == "file" and (folder / s.source).exists() for s in sources):
        return cut
    paths = [replace(s, source=str(folder / s.source)) if s.type == "file" else s for s in sources]
    changed: Any = replace(cut, recording=replace(recording, sources=paths))
    return changed
