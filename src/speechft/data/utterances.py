"""Utterances as plain records, and how they become lhotse cuts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from speechft.core.errors import DataError
from speechft.core.progress import progress_bar
from speechft.core.registry import deferred
from speechft.core.seeding import numpy_generator
from speechft.core.stopping import threads as start_threads
from speechft.data.decoding import Header, read_header

if TYPE_CHECKING:
    import lhotse
    from lhotse import CutSet, SupervisionSegment
    from lhotse.cut import Cut
else:
    lhotse = deferred("lhotse")

T = TypeVar("T")
R = TypeVar("R")
# In a cut's custom fields: a recording with one supervision per stretch of speech.
DIARIZATION = "diarization"
# In a cut's custom fields: the seed by which its split was drawn.
DRAWN = "drawn_split"
# Custom fields of a cut itself that this package sets, and that are no label.
MARKS: frozenset[str] = frozenset({DIARIZATION, DRAWN, "synthetic"})
# In a supervision's custom fields: what a table says in columns that no task has of its own.
FURTHER = "columns"
# Custom fields that are this package's, and no column.
_INNER: frozenset[str] = frozenset(
    f"{FURTHER} {DRAWN} {DIARIZATION} effects samples slots words_tags word_tags trials matches "
    "synthetic phonemes_by".split()
)
# How far, in seconds, an end may lie behind the end of the audio: times in tables are rounded.
_TOLERANCE = 0.05
_SHOWN = 20
# Headers that a thread reads at a time: one is read faster than a thread is woken.
_CHUNK = 64


@dataclass
class Loaded:
    """Data as found.

    Attributes:
        splits: split → cuts.
        problems: one line for everything that cannot be used.
        unheard: those of them that say that an utterance's audio is missing or broken; such an
            utterance is in no split, and nothing else is wrong for it.
        notes: worth knowing; nothing is unusable.
        source: where to get what is missing.
        official: the splits are those of a known corpus, not the user's own.
        expected: of a known corpus: split → number of utterances.
    """

    splits: dict[str, CutSet]
    problems: list[str] = field(default_factory=list)
    unheard: Collection[str] = ()
    notes: list[str] = field(default_factory=list)
    source: str | None = None
    official: bool = False
    expected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Utterance:
    """One utterance as a table or a corpus describes it.

    Attributes:
        id: unique within its split.
        audio: the file.
        where: what a message about it names ("row 7").
        text: words.
        speaker: any name.
        language: code such as "en".
        custom: further labels: phonemes, emotion, intent, slots, words_tags, label, columns.
        start: seconds where it begins in the file.
        end: seconds where it ends; the end of the file if not given.
        alignment: (phone, start, duration) in order, in seconds from the utterance's start.
        turns: (speaker, start, duration) of a recording for diarization, one supervision each.
    """

    id: str
    audio: Path
    where: str = ""
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)
    start: float = 0.0
    end: float | None = None
    alignment: Sequence[tuple[str, float, float]] = ()
    turns: Sequence[tuple[str, float, float]] = ()


def load_splits(
    parts: Mapping[str, Sequence[Utterance]],
    problems: Iterable[str] = (),
    notes: Iterable[str] = (),
) -> Loaded:
    """Make cuts for all splits at once; one utterance in several splits is one cut.

    The audio files' headers are read in parallel, each file once.

    Args:
        parts: split → its utterances.
        problems: what was found wrong before.
        notes: what was found worth knowing before.
    """
    unique = {id(utterance): utterance for part in parts.values() for utterance in part}
    paths = sorted({utterance.audio for utterance in unique.values()})
    threads = min(16, 4 * (os.cpu_count() or 1))
    read = in_threads(_read_header, paths, "reading audio headers", threads, chunk=_CHUNK)
    headers = dict(zip(paths, read, strict=True))
    cuts: dict[int, Cut] = {}
    bad = []
    for key, utterance in unique.items():
        header = headers[utterance.audio]
        problem = header if isinstance(header, str) else _find_problem(utterance, header)
        if isinstance(header, str) or problem:
            bad.append(f"{utterance.where or utterance.id}: {problem}")
        else:
            cuts[key] = _make_cut(utterance, header)
    splits = {
        name: lhotse.CutSet.from_cuts(cuts[id(u)] for u in part if id(u) in cuts)
        for name, part in parts.items()
    }
    return Loaded(splits, [*problems, *bad], frozenset(bad), list(notes))


def columns_of(cut: Cut) -> dict[str, Any]:
    """Give what is said of an utterance under any name: in a table's columns, in a cut's fields."""
    found: dict[str, Any] = {}
    for one in cut.supervisions[:1]:
        custom = {**(cut.custom or {}), **(one.custom or {})}
        found = {name: getattr(one, name) for name in ("text", "speaker", "language", "gender")}
        found |= {name: value for name, value in custom.items() if name not in _INNER}
        found |= custom.get(FURTHER, {})
    return {name: value for name, value in found.items() if value not in (None, "", [], {})}


def first_seconds(cuts: Sequence[Cut], seconds: float) -> list[Cut]:
    """Give cuts from the first one on until they last so many seconds."""
    before = accumulate((float(cut.duration) for cut in cuts), initial=0.0)
    return [cut for cut, heard in zip(cuts, before, strict=False) if heard < seconds]


def drawn(items: Sequence[T], most: int, seed: int, *names: str) -> list[T]:
    """Give at most so many items, such as cuts, drawn by the seed, in their order."""
    order = numpy_generator(seed, *names).permutation(len(items))
    return [items[i] for i in sorted(order[:most].tolist())]


def in_threads(
    function: Callable[[T], R], items: Sequence[T], what: str, threads: int, chunk: int = 1
) -> list[R]:
    """Apply a function to items in threads, with a progress display; results keep the order.

    On any error, Ctrl-C included, what has not begun is dropped.

    Args:
        function: takes one item.
        items: all of them.
        what: for the display.
        threads: how many.
        chunk: items that a thread takes at a time.
    """
    parts = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    found: list[R] = []
    with start_threads(threads) as pool, progress_bar() as bar:
        task = bar.add_task(what, total=len(items), note="")
        for results in pool.map(lambda part: [function(item) for item in part], parts):
            found += results
            bar.advance(task, len(results))
    return found


def problems_error(
    problems: Sequence[str], where: object, hint: str | None = None, what: str = "the data has"
) -> DataError:
    """Make one error of many problems; a long list is cut."""
    shown = [f"    {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"    and {len(problems) - _SHOWN} more")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return DataError(f"{what} {count}:\n" + "\n".join(shown), where=where, hint=hint)


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


def _read_header(path: Path) -> Header | str:
    """Give rate, samples and channels, or what is wrong."""
    try:
        return read_header(path)
    except DataError as error:
        details = "; ".join(text for text in (error.found, error.hint) if text)
        return f"{error.what}: {path}" + (f" ({details})" if details else "")


def _find_problem(utterance: Utterance, header: Header) -> str:
    rate, frames, _ = header
    seconds = frames / rate
    end = seconds if utterance.end is None else utterance.end
    if not (math.isfinite(utterance.start) and math.isfinite(end)):
        return f"start {utterance.start:g} or end {end:g} is no number of seconds"
    if utterance.start < 0 or end <= utterance.start:
        return f"start {utterance.start} and end {end:g} leave nothing of {utterance.audio}"
    if end > seconds + _TOLERANCE:
        return f"end {end:g} lies behind the end of {utterance.audio} ({seconds:.2f} s)"
    return ""


def _make_cut(utterance: Utterance, header: Header) -> Cut:
    """Make the cut of an utterance; of several channels all are heard, as their mean."""
    rate, frames, count = header
    seconds = frames / rate
    end = seconds if utterance.end is None else min(utterance.end, seconds)
    duration = seconds if utterance.start == 0 and end == seconds else end - utterance.start
    name, channels = utterance.id, list(range(count))
    source = lhotse.audio.AudioSource("file", channels, os.path.abspath(utterance.audio))
    kind = lhotse.MonoCut if count == 1 else lhotse.MultiCut
    return kind(
        id=name,
        start=utterance.start,
        duration=duration,
        channel=0 if count == 1 else channels,
        supervisions=_supervisions(utterance, duration),
        recording=lhotse.Recording(name, [source], rate, frames, seconds),
        custom={DIARIZATION: True} if utterance.turns else None,
    )


def _supervisions(utterance: Utterance, duration: float) -> list[SupervisionSegment]:
    name, language = utterance.id, utterance.language
    if utterance.turns:
        turns = enumerate(utterance.turns)
        return [
            lhotse.SupervisionSegment(
                f"{name}-{n:03d}", name, start, length, language=language, speaker=speaker
            )
            for n, (speaker, start, length) in turns
        ]
    items = [lhotse.supervision.AlignmentItem(*item) for item in utterance.alignment]
    supervision = lhotse.SupervisionSegment(
        id=name,
        recording_id=name,
        start=0.0,
        duration=duration,
        text=utterance.text,
        language=language,
        speaker=utterance.speaker,
        custom=dict(utterance.custom),
        alignment={"phone": items} if items else None,
    )
    return [supervision]
