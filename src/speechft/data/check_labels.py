"""Checks of texts and labels, within a split and between splits: a line for each finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from lhotse import CutSet
from lhotse.cut import Cut

from speechft.data.utterances import DRAWN, FURTHER

SHOWN: Final = 5  # examples in a message
_CLASSES: Final = ("label", "emotion", "intent")
_KINDS: Final = ("speaker", *_CLASSES, "phonemes", "tags", "text")


def find_empty_texts(split: str, cuts: CutSet) -> Iterator[str]:
    """Texts may be absent altogether; a command's class makes up for its text."""
    empty = [cut.id for cut in cuts if not {"text", "label"} & _kinds(cut.supervisions[:1])]
    if empty and len(empty) < len(cuts):
        yield f"{split}: {len(empty)} of {len(cuts)} texts are empty: {', '.join(empty[:SHOWN])}"


def find_gaps(split: str, cuts: CutSet, held: Collection[str]) -> Iterator[str]:
    """Say what utterances lack and others have; a task that needs it refuses the data.

    Args:
        split: its name.
        cuts: its utterances.
        held: kinds that the data has in other splits.
    """
    without: dict[str, list[str]] = defaultdict(list)
    own = [(cut.id, _kinds(cut.supervisions)) for cut in cuts]
    here = set().union(*(found for _, found in own))
    kinds = dict.fromkeys((*_KINDS, *sorted(here | set(held))))
    for name, found in own:
        for kind in kinds:
            # A text that only some have is an error, unless a class makes up for it.
            if kind not in found and (kind != "text" or "label" in found or "text" not in here):
                without[kind].append(name)
    for kind, names in without.items():
        if kind in here or kind in held:
            shown = ", ".join(names[:SHOWN])
            yield f"{split}: {len(names)} of {len(cuts)} utterances have no {kind}: {shown}"


def kinds_of(cuts: Iterable[Cut]) -> set[str]:
    """Give the kinds of labels that some of the utterances have."""
    return {kind for cut in cuts for kind in _kinds(cut.supervisions)}


def find_audio_alone(splits: Iterable[CutSet]) -> Iterator[str]:
    """Say where there is nothing but audio: most commands can do nothing with it."""
    every = (cut for cuts in splits for cut in cuts)
    if not any(
        set(cut.custom or ()) - {DRAWN}
        or any(s.text or s.speaker or s.custom or s.alignment for s in cut.supervisions)
        for cut in every
    ):
        yield "there is audio alone, without any label: only pretrain, embed and analyze can use it"


def find_new_labels(prefix: str, parts: Mapping[str, CutSet]) -> Iterator[str]:
    """Name labels of dev and test that train lacks; speakers only where they are classes."""
    for name, kind, values, known in _compared(parts, _labels):
        new = sorted(values - known)
        if new and known and (kind != "speaker" or prefix == "sid_"):
            yield f"{prefix}{name}: {kind} not in {prefix}train: {', '.join(new[:SHOWN])}"


def find_shared_speakers(prefix: str, parts: Mapping[str, CutSet]) -> Iterator[str]:
    """Name speakers of dev and test who are in train too, where speakers are no classes."""
    for name, kind, values, known in _compared(parts, _labels):
        both = sorted(values & known)
        if both and kind == "speaker" and prefix != "sid_":
            shown = ", ".join(both[:SHOWN])
            yield f"{prefix}{name}: {len(both)} speakers are in {prefix}train too: {shown}"


def find_new_classes(prefix: str, parts: Mapping[str, CutSet]) -> Iterator[str]:
    """Name classes of dev and test that training does not have: no head can learn them.

    An intent of several parts gives one kind of class for each.
    """
    for name, kind, values, known in _compared(parts, _classes):
        new = sorted(values - known)
        if new and known:
            yield f"{prefix}{name}: {kind} not in {prefix}train: {', '.join(new[:SHOWN])}"


def summarise(cuts: CutSet) -> dict[str, Any]:
    """Give a split's sizes: utterances, hours, speakers, languages, classes per kind of label."""
    labels = _labels(cuts)
    languages = {cut.supervisions[0].language for cut in cuts} - {None}
    return {
        "utterances": len(cuts),
        "hours": round(sum(cut.duration for cut in cuts) / 3600, 3),
        "speakers": len(labels.get("speaker", ())),
        "languages": sorted(str(language) for language in languages),
        "classes": {kind: len(labels[kind]) for kind in _CLASSES if kind in labels},
        "synthetic": all(bool((cut.custom or {}).get("synthetic")) for cut in cuts),
    }


def _compared(
    parts: Mapping[str, CutSet], label: Callable[[CutSet], dict[str, set[str]]]
) -> Iterator[tuple[str, str, set[str], set[str]]]:
    """Give dev's and test's name, each kind of label, its values there, and those of train."""
    known = label(parts["train"]) if "train" in parts else {}
    for name in [name for name in ("dev", "test") if name in parts and "train" in parts]:
        for kind, values in label(parts[name]).items():
            yield name, kind, values, known.get(kind, set())


def _kinds(supervisions: Iterable[Any]) -> set[str]:
    """Give the kinds of labels that an utterance has."""
    kinds = set()
    for supervision in supervisions:
        custom = supervision.custom or {}
        tagged = custom.get("words_tags") or custom.get("word_tags")
        given = {**custom, "tags": tagged, "speaker": supervision.speaker}
        given["text"] = (supervision.text or "").strip()
        kinds |= {kind for kind in _KINDS if given.get(kind)} | set(custom.get(FURTHER, ()))
    return kinds


def _labels(cuts: Iterable[Cut]) -> dict[str, set[str]]:
    """Give kind of label → its values."""
    result: dict[str, set[str]] = defaultdict(set)
    for supervision in (s for cut in cuts for s in cut.supervisions):
        given = {**(supervision.custom or {}), "speaker": supervision.speaker}
        for kind in ("speaker", *_CLASSES):
            if given.get(kind):
                result[kind].add(str(given[kind]))
    return result


def _classes(cuts: Iterable[Cut]) -> dict[str, set[str]]:
    """Give kind of class → its values."""
    result: dict[str, set[str]] = defaultdict(set)
    customs = (s.custom or {} for cut in cuts for s in cut.supervisions)
    for kind, value in ((kind, custom.get(kind)) for custom in customs for kind in _CLASSES):
        for part, own in (value if isinstance(value, dict) else {"": value}).items():
            if own:
                result[f"{kind} {part}".strip()].add(str(own))
    return result
