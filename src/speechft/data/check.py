"""`speechft data check`: what is wrong with data (errors), and what one should know (warnings)."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lhotse import CutSet
from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.logging import progress_bar
from speechft.data.audio import SAMPLE_RATE, load_waveform
from speechft.data.sources import find_data
from speechft.data.threads import threads
from speechft.data.utterances import Loaded

LONGEST_SECONDS = 30.0
_SHOWN = 5
_SILENT = "silent"
_CLASSES = ("label", "emotion", "intent")


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        errors: each makes the data unusable for something; none of them may be left.
        warnings: worth knowing.
        summary: split → utterances, hours, speakers, languages, classes per kind of label.
        unusable: id of a cut whose audio cannot be decoded → its line in `errors`.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Tell whether there are no errors."""
        return not self.errors


def check_data(spec: str, seed: int = 0) -> CheckReport:
    """Check all of the data: every file is decoded, labels are compared between splits.

    Never raises for bad data; what cannot be loaded at all is one error. Arguments as
    `sources.load_data`.
    """
    try:
        loaded = find_data(spec, seed)
    except DataError as error:
        return CheckReport(errors=[error.render()])
    return check_loaded(loaded)


def check_loaded(loaded: Loaded, decode: bool = True) -> CheckReport:
    """Check data that is loaded; without `decode` the audio's headers have to do."""
    report = CheckReport(errors=list(loaded.problems), warnings=list(loaded.notes))
    if not any(len(cuts) for cuts in loaded.splits.values()):
        report.errors.append("the data holds no utterance that can be used")
        return report
    _check_counts(loaded, report)
    _check_ids(loaded, report)
    unique = {cut.id: cut for cuts in loaded.splits.values() for cut in cuts}
    if decode:
        _check_audio(loaded, unique, report)
    report.warnings += _describe_audio(unique.values())
    for name, cuts in loaded.splits.items():
        _check_texts(name, cuts, report)
        if _family(name)[1] in ("train", "dev", "test"):
            _check_gaps(name, cuts, report)
        report.summary[name] = _summarise(cuts)
    for prefix in sorted({_family(name)[0] for name in loaded.splits}):
        parts = {_family(n)[1]: c for n, c in loaded.splits.items() if _family(n)[0] == prefix}
        if loaded.official:
            _note_new_classes(prefix, parts, report)
        else:
            _compare_splits(prefix, parts, report)
    return report


def _check_counts(loaded: Loaded, report: CheckReport) -> None:
    """Compare the numbers of utterances with the corpus' official ones."""
    incomplete = False
    for name, expected in loaded.expected.items():
        found = len(loaded.splits.get(name, ()))
        incomplete |= found < expected
        if found != expected:
            kind = f"{expected - found} missing" if found < expected else "more than there are"
            report.warnings.append(
                f"{name}: {found} utterances, the whole corpus has {expected} ({kind})"
            )
    if incomplete and loaded.source:
        report.warnings.append(f"for the whole corpus {loaded.source}")


def _check_ids(loaded: Loaded, report: CheckReport) -> None:
    """Name ids that a split holds more than once: nothing could tell their utterances apart."""
    for name, cuts in loaded.splits.items():
        twice = [key for key, count in Counter(cut.id for cut in cuts).items() if count > 1]
        if twice:
            shown = ", ".join(twice[:_SHOWN])
            report.errors.append(f"{name}: {len(twice)} ids occur more than once: {shown}")


def _check_audio(loaded: Loaded, unique: Mapping[str, Cut], report: CheckReport) -> None:
    """Decode every utterance once, in parallel; compare contents."""
    home: dict[str, dict[str, str]] = defaultdict(dict)
    for split, cuts in loaded.splits.items():
        family, part = _family(split)
        for cut in cuts:
            home[cut.id][family] = part
    same: dict[str, list[str]] = defaultdict(list)
    silent = []
    with threads(os.cpu_count() or 1) as pool, progress_bar() as bar:
        task = bar.add_task("checking audio", total=len(unique), note="")
        for name, found in zip(unique, pool.map(_decode, unique.values()), strict=True):
            bar.update(task, advance=1)
            if isinstance(found, DataError):
                report.unusable[name] = f"{name}: {found.what}: {found.where} ({found.found})"
            elif found == _SILENT:
                silent.append(name)
            else:
                same[found].append(name)
    report.errors += report.unusable.values()
    if silent:
        report.warnings.append(f"{len(silent)} utterances are silent: {', '.join(silent[:5])}")
    _check_duplicates([names for names in same.values() if len(names) > 1], home, loaded, report)


def _check_duplicates(
    groups: Iterable[list[str]],
    home: Mapping[str, Mapping[str, str]],
    loaded: Loaded,
    report: CheckReport,
) -> None:
    """Name the same audio on both sides of a split, which makes its scores worthless.

    A known corpus is compared with what others report on it, as it is: there it is a warning.
    """
    within = []
    for names in groups:
        text = f"the same audio {len(names)} times: {', '.join(names[:5])}"
        if not loaded.official and any(
            len({home[name].get(family) for name in names} - {None}) > 1
            for family in home[names[0]]
        ):
            report.errors.append(f"{text}, in different splits")
        else:
            within.append(text)
    report.warnings += within[:_SHOWN]
    if len(within) > _SHOWN:
        report.warnings.append(f"and {len(within) - _SHOWN} more sets of equal audio")


def _decode(cut: Cut) -> str | DataError:
    try:
        waveform = load_waveform(cut).numpy()
        return hashlib.sha256(waveform.tobytes()).hexdigest() if waveform.any() else _SILENT
    except DataError as error:
        return error


def _describe_audio(cuts: Iterable[Cut]) -> list[str]:
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    long = []
    for cut in cuts:
        recording: Any = getattr(cut, "recording", None)
        if recording is not None:
            rates[recording.sampling_rate] += 1
            channels[len(recording.sources[0].channels)] += 1
        if cut.duration > LONGEST_SECONDS:
            long.append(cut.id)
    result = [
        f"{count} utterances have {rate} Hz and are resampled to {SAMPLE_RATE} Hz"
        for rate, count in sorted(rates.items())
        if rate != SAMPLE_RATE
    ]
    result += [
        f"{count} utterances have {number} channels, which are mixed into one"
        for number, count in sorted(channels.items())
        if number != 1
    ]
    if long:
        shown = ", ".join(long[:5])
        result.append(f"{len(long)} utterances are longer than {LONGEST_SECONDS:g} s: {shown}")
    return result


def _check_texts(split: str, cuts: CutSet, report: CheckReport) -> None:
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


def _check_gaps(split: str, cuts: CutSet, report: CheckReport) -> None:
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


def _compare_splits(prefix: str, parts: Mapping[str, CutSet], report: CheckReport) -> None:
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


def _note_new_classes(prefix: str, parts: Mapping[str, CutSet], report: CheckReport) -> None:
    """Name classes of dev and test that training does not have: no head can learn them."""
    if "train" not in parts:
        return
    known = _classes(parts["train"])
    for name in [name for name in ("dev", "test") if name in parts]:
        for kind, values in _classes(parts[name]).items():
            new = sorted(values - known.get(kind, set()))
            if new and kind in known:
                shown = ", ".join(new[:_SHOWN])
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


def _summarise(cuts: CutSet) -> dict[str, Any]:
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


def _family(split: str) -> tuple[str, str]:
    """Split "sid_train" into ("sid_", "train"): only splits of one family are compared."""
    head, sign, tail = split.rpartition("_")
    return (head + sign, tail) if tail in ("train", "dev", "test") else ("", split)
