"""Checks of texts and labels, within a split and between splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lhotse import CutSet
from lhotse.cut import Cut

from speechft.data.check_report import SHOWN, CheckReport

_CLASSES = ("label", "emotion", "intent")


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


def check_gaps(split: str, cuts: CutSet, report: CheckReport) -> None:
    """Warn of what some utterances have and others lack; a task that needs it refuses the data."""
    without: dict[str, list[str]] = defaultdict(list)
    for cut in cuts:
        found = _labels([cut])
        for kind in ("speaker", *_CLASSES):
            if kind not in found:
                without[kind].append(cut.id)
        if "label" in found and not (cut.supervisions[0].text or "").strip():
            without["text"].append(cut.id)
    for kind, names in without.items():
        if len(names) < len(cuts):
            report.warnings.append(
                f"{split}: {len(names)} of {len(cuts)} utterances have no {kind}: "
                + ", ".join(names[:5])
            )


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
