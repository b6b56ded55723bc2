"""Checks of texts and labels, within a split and between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from lhotse import CutSet
from lhotse.cut import Cut

from speechft.data.check_report import SHOWN, CheckReport

_CLASSES = ("label", "emotion", "intent")
_KINDS = ("speaker", *_CLASSES, "phonemes", "tags", "text")
_TAGGED = ("words_tags", "word_tags")


def check_texts(split: str, cuts: CutSet, report: CheckReport) -> None:
    """Texts may be absent altogether; a command's class makes up for its text."""
    empty = [
        cut.id
        for cut in cuts
        if not (cut.supervisions[0].text or "").strip()
        and not (cut.supervisions[0].custom or {}).get("label")
    ]
    if empty and len(empty) < len(cuts):
        shown = ", ".join(empty[:5])
        report.errors.append(f"{split}: {len(empty)} of {len(cuts)} texts are empty: {shown}")


def check_gaps(split: str, cuts: CutSet, held: Collection[str], report: CheckReport) -> None:
    """Warn of what utterances lack and others have; a task that needs it refuses the data.

    Args:
        split: its name.
        cuts: its utterances.
        held: kinds that the data has in other splits.
        report: where warnings go.
    """
    without: dict[str, list[str]] = defaultdict(list)
    own = [(cut.id, _kinds(cut)) for cut in cuts]
    here = set().union(*(found for _, found in own))
    for name, found in own:
        for kind in _KINDS:
            # A text that only some have is an error, unless a class makes up for it.
            if kind not in found and (kind != "text" or "label" in found or "text" not in here):
                without[kind].append(name)
    for kind, names in without.items():
        if kind in here or kind in held:
            report.warnings.append(
                f"{split}: {len(names)} of {len(cuts)} utterances have no {kind}: "
                + ", ".join(names[:5])
            )


def kinds_of(cuts: Iterable[Cut]) -> set[str]:
    """Give the kinds of labels that some of the utterances have."""
    return {kind for cut in cuts for kind in _kinds(cut)}


def note_audio_alone(splits: Iterable[CutSet], report: CheckReport) -> None:
    """Warn where there is nothing but audio: most commands can do nothing with it."""
    if not any(_is_labelled(cut) for cuts in splits for cut in cuts):
        report.warnings.append(
            "there is audio alone, without any label: only pretrain, embed and analyze can use it"
        )


def _is_labelled(cut: Cut) -> bool:
    return bool(cut.custom) or any(
        s.text or s.speaker or s.custom or s.alignment for s in cut.supervisions
    )


def _kinds(cut: Cut) -> set[str]:
    """Give the kinds of labels that an utterance has."""
    kinds = set(_labels([cut]))
    for supervision in cut.supervisions:
        custom = supervision.custom or {}
        kinds |= {"phonemes"} if custom.get("phonemes") else set()
        kinds |= {"tags"} if any(custom.get(name) for name in _TAGGED) else set()
        kinds |= {"text"} if (supervision.text or "").strip() else set()
    return kinds


def compare_splits(prefix: str, parts: Mapping[str, CutSet], report: CheckReport) -> None:
    """Compare dev and test with train."""
    if "train" not in parts:
        return
    train = _labels(parts["train"])
    closed = prefix == "sid_"
    for name in ("dev", "test"):
        found = _labels(parts[name]) if name in parts else {}
        for kind, values in found.items():
            new = sorted(values - train.get(kind, set()))
            known = sorted(values & train.get(kind, set()))
            if new and (kind != "speaker" or closed) and kind in train:
                shown = ", ".join(new[:5])
                report.errors.append(f"{prefix}{name}: {kind} not in {prefix}train: {shown}")
            if kind == "speaker" and known and not closed:
                shown = ", ".join(known[:5])
                report.warnings.append(
                    f"{prefix}{name}: {len(known)} speakers are in {prefix}train too: {shown}"
                )


def note_new_classes(prefix: str, parts: Mapping[str, CutSet], report: CheckReport) -> None:
    """Name classes of dev and test that training does not have: no head can learn them."""
    if "train" not in parts:
        return
    known = _classes(parts["train"])
    for name in [name for name in ("dev", "test") if name in parts]:
        for kind, values in _classes(parts[name]).items():
            new = sorted(values - known.get(kind, set()))
            if new and kind in known:
                shown = ", ".join(new[:SHOWN])
                report.warnings.append(f"{prefix}{name}: {kind} not in {prefix}train: {shown}")


def _classes(cuts: Iterable[Cut]) -> dict[str, set[str]]:
    """Give kind of class → its values; an intent of several parts gives one kind for each."""
    result: dict[str, set[str]] = defaultdict(set)
    for supervision in (s for cut in cuts for s in cut.supervisions):
        for kind in _CLASSES:
            value = (supervision.custom or {}).get(kind)
            parts = value if isinstance(value, dict) else {"": value}
            for part, own in parts.items():
                if own:
                    result[f"{kind} {part}".strip()].add(str(own))
    return result


def _labels(cuts: Iterable[Cut]) -> dict[str, set[str]]:
    """Give kind of label → its values."""
    result: dict[str, set[str]] = defaultdict(set)
    for supervision in (s for cut in cuts for s in cut.supervisions):
        if supervision.speaker:
            result["speaker"].add(str(supervision.speaker))
        for kind in _CLASSES:
            value = (supervision.custom or {}).get(kind)
            if value:
                result[kind].add(str(value))
    return result


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
