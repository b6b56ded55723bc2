"""Utterances as plain records, and how they become lhotse cuts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from speechft.core.errors import DataError

# How far, in seconds, an end may lie behind the end of the audio: times in tables are rounded.
_TOLERANCE = 0.05
_SHOWN = 20


@dataclass(frozen=True)
class Utterance:
    """One utterance as a table or a corpus describes it.

    Attributes:
        id: unique within its data.
        audio: the file.
        where: what a message about it names ("row 7").
        start: seconds where it begins in the file.
        end: seconds where it ends; the end of the file if not given.
        text: words.
        speaker: any name.
        language: code such as "en".
        custom: further labels: phonemes, emotion, intent, slots, words_tags, label.
    """

    id: str
    audio: Path
    where: str = ""
    start: float = 0.0
    end: float | None = None
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)


def make_cuts(utterances: Sequence[Utterance]) -> tuple[dict[str, MonoCut], list[str]]:
    """Make cuts; the audio files' headers are read in parallel, each file once.

    Returns:
        id → cut, in the order given, and one line for every utterance that cannot be used.
    """
    paths = sorted({utterance.audio for utterance in utterances})
    with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
        headers = dict(zip(paths, pool.map(_read_header, paths), strict=True))
    cuts: dict[str, MonoCut] = {}
    problems = []
    for utterance in utterances:
        header = headers[utterance.audio]
        problem = header if isinstance(header, str) else _find_problem(utterance, header)
        if problem:
            problems.append(f"{utterance.where or utterance.id}: {problem}")
        elif not isinstance(header, str):
            cuts[utterance.id] = _make_cut(utterance, header)
    return cuts, problems


def strict_cuts(utterances: Sequence[Utterance], where: object) -> dict[str, MonoCut]:
    """Make cuts, or raise `DataError` with every problem."""
    cuts, problems = make_cuts(utterances)
    if problems:
        raise problems_error(problems, where)
    return cuts


def problems_error(problems: Sequence[str], where: object) -> DataError:
    """Make one error of many problems; a long list is cut."""
    shown = [f"    {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"    and {len(problems) - _SHOWN} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return DataError(f"the data has {count}:\n" + "\n".join(shown), where=where)


def tags_to_slots(tags: Iterable[Sequence[str]]) -> list[list[str]]:
    """Turn (word, slot or "O") pairs into [slot, value] in order; equal neighbours are one slot."""
    slots: list[list[str]] = []
    last = "O"
    for word, tag in tags:
        if tag != "O" and tag == last:
            slots[-1][1] += f" {word}"
        elif tag != "O":
            slots.append([tag, word])
        last = tag
    return slots


def _read_header(path: Path) -> tuple[int, int, int] | str:
    """Give (rate, samples, channels), or what is wrong."""
    if not path.is_file():
        return f"no such audio file: {path}"
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        return f"the audio cannot be decoded: {path} ({error})"
    if info.frames == 0:
        return f"the audio is empty: {path}"
    return info.samplerate, info.frames, info.channels


def _find_problem(utterance: Utterance, header: tuple[int, int, int]) -> str:
    rate, frames, _ = header
    seconds = frames / rate
    end = seconds if utterance.end is None else utterance.end
    if utterance.start < 0 or end <= utterance.start:
        return f"start {utterance.start} and end {end:g} leave nothing of {utterance.audio}"
    if end > seconds + _TOLERANCE:
        return f"end {end:g} lies behind the end of {utterance.audio} ({seconds:.2f} s)"
    return ""


def _make_cut(utterance: Utterance, header: tuple[int, int, int]) -> MonoCut:
    rate, frames, channels = header
    seconds = frames / rate
    end = seconds if utterance.end is None else min(utterance.end, seconds)
    duration = seconds if utterance.start == 0 and end == seconds else end - utterance.start
    name = utterance.id
    source = AudioSource("file", list(range(channels)), str(utterance.audio.resolve()))
    supervision = SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=duration,
        text=utterance.text,
        language=utterance.language,
        speaker=utterance.speaker,
        custom=dict(utterance.custom),
    )
    return MonoCut(
        id=name,
        start=utterance.start,
        duration=duration,
        channel=0,
        supervisions=[supervision],
        recording=Recording(name, [source], rate, frames, seconds),
    )
