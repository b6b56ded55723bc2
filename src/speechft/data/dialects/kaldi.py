"""Kaldi's data folders: `wav.scp`, and `segments`, `text`, `utt2spk`, `utt2lang` where they are.

https://kaldi-asr.org/doc/data_prep.html
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

from speechft.core.paths import home_expanded
from speechft.data.dialects import Dialect, register
from speechft.data.table_files import Row, text_rows
from speechft.data.utterances import problems_error

_LABELS: Final = {"text": "text", "utt2spk": "speaker", "utt2lang": "language"}
_ABOVE: Final = 4  # levels: recipes run above their data folders, and paths are relative to there
_IN_ARCHIVE: Final = re.compile(r"\.ark:\d+")


@register(
    "kaldi",
    partial(
        Dialect,
        fits=lambda place: (place / "wav.scp").is_file(),
        layout="a folder with wav.scp (files, no commands), text, utt2spk, segments",
    ),
)
def kaldi(place: Path, _notes: list[str]) -> list[Row]:
    """Read a folder; paths may be relative to it, to a folder above or to the working directory.

    Raises:
        DataError: audio comes from commands or archives, or lines do not belong together; all of
            them are listed.
    """
    problems: list[str] = []
    audio = _lines(place, "wav.scp", problems)
    for name, (number, path) in audio.items():
        fault = _fault(path)
        problems += [f"wav.scp, row {number}: {name}: {fault}"] if fault else []
    segments = _lines(place, "segments", problems)
    source = "segments" if segments else "wav.scp"
    rows = {name: Row(n, {}, name, source) for name, (n, _) in (segments or audio).items()}
    for name, row in rows.items():
        recording, *times = segments[name][1].split() if segments else [name]
        if recording in audio and len(times) in (0, 2):
            row.fields["audio"] = str(_found(audio[recording][1], place))
            row.fields.update(zip(("start", "end"), times, strict=False))
            if times[1:] == ["-1"]:
                row.fields["end"] = None
        else:
            problems.append(f"{row.where}: expected UTTERANCE RECORDING START END, all in wav.scp")
    for file, column in _LABELS.items():
        for name, (number, value) in _lines(place, file, problems).items():
            if name in rows:
                rows[name].fields[column] = value
            else:
                problems.append(f"{file}, row {number}: there is no {name!r} in {source}")
    for name, (number, value) in _lines(place, "reco2file_and_channel", problems).items():
        if value.split()[-1:] not in (["A"], ["1"]):
            what = "a channel is asked for; write each channel to a file"
            problems.append(f"reco2file_and_channel, row {number}: {name}: {what}")
    if problems:
        raise problems_error(problems, place)
    return list(rows.values())


def _lines(place: Path, name: str, problems: list[str]) -> dict[str, tuple[int, str]]:
    """Give key → (number, what follows it) of a file; nothing where it is not there."""
    found: dict[str, tuple[int, str]] = {}
    for number, line in text_rows(place / name) if (place / name).exists() else ():
        key, *rest = line.split(None, 1)
        if key in found:
            problems.append(f"{name}, row {number}: {key!r} is in row {found[key][0]} too")
        found[key] = number, "".join(rest)
    return found


def _fault(path: str) -> str | None:
    if path.endswith("|") or path.startswith("|"):
        return f"its audio comes from a command, and none is run: {path}; write it to a file"
    if not path or path == "-" or _IN_ARCHIVE.search(path):
        return f"its audio is no file of its own: {path or 'nothing'}"
    return None


def _found(text: str, place: Path) -> Path:
    path = home_expanded(text)
    folders = [place, *place.resolve().parents[:_ABOVE], Path.cwd()]
    return next((f / path for f in folders if (f / path).is_file()), place.resolve() / path)
