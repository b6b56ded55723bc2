"""`speechft data check`: what is wrong with data (errors), and what one should know (warnings).

Audio is decoded, and texts and labels are compared within a split and between splits: a line for
each finding.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from lhotse import CutSet
from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.nearest_names import look_alike
from speechft.data.audio import load_waveform
from speechft.data.cuts import cut_key
from speechft.data.load import find_data
from speechft.data.utterances import DRAWN, FURTHER, Loaded, in_threads

LONGEST_SECONDS: Final = 30.0
_PARTS: Final = ("train", "dev", "test")
_CLOSED: Final = "sid_"  # begins the names of splits whose classes are the speakers
_NO_LABELS: Final[dict[str, Any]] = dict.fromkeys(
    ("text", "custom", "language", "gender", "alignment")
)
_SILENT: Final = "silent"
Key = tuple[str, ...]  # of a cut, as `cut_key` gives it


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        errors: each makes the data unusable for something; none of them may be left.
        warnings: worth knowing.
        summary: split → utterances, hours, speakers, languages, classes per kind of label.
        unusable: key of a cut whose audio cannot be decoded → its line in `errors`.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    unusable: dict[Key, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Tell whether there are no errors."""
        return not self.errors


def check_data(spec: str, seed: int = 0, *, allow_commands: bool = False) -> CheckReport:
    """Check all of the data: every file is decoded, labels are compared between splits.

    Never raises for bad data; what cannot be loaded at all is one error. Arguments as
    `sources.load_data`.
    """
    try:
        loaded = find_data(spec, seed, allow_commands=allow_commands)
    except DataError as error:
        return CheckReport(errors=[error.advised("mend what is named").render()])
    return check_loaded(loaded)


def check_loaded(loaded: Loaded, decode: bool = True) -> CheckReport:
    """Check data that is loaded; without `decode` the audio's headers have to do."""
    report = CheckReport(errors=list(loaded.problems), warnings=list(loaded.notes))
    if not any(len(cuts) for cuts in loaded.splits.values()):
        report.errors.append("the data holds no utterance that can be used")
        return report
    report.warnings += _find_counts(loaded)
    report.errors += _find_ids(loaded)
    unique = {cut_key(cut): cut for cuts in loaded.splits.values() for cut in cuts}
    if decode:
        _check_audio(loaded, unique, report)
    report.warnings += _describe_audio(unique.values())
    if not loaded.official:
        report.warnings += find_audio_alone(loaded.splits.values())
    held: dict[str, set[str]] = defaultdict(set)
    families: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, whole in loaded.splits.items():
        family, part = _family_of(name)
        report.summary[name] = summarise(whole)
        cuts = _with_speakers_alone(whole) if family.endswith(_CLOSED) else whole
        families[family][part] = cuts
        # Splits of a known corpus may differ in the kinds of their labels.
        held[family] |= kinds_of(cuts) if part in _PARTS and not loaded.official else set()
    for name in loaded.splits:
        family, part = _family_of(name)
        cuts = families[family][part]
        report.errors += find_empty_texts(name, cuts)
        report.warnings += find_gaps(name, cuts, held[family]) if part in _PARTS else []
        if part == "train" and not loaded.official:
            report.warnings += find_one_value(name, cuts)
    for family in sorted(families):
        if loaded.official:
            report.warnings += find_new_classes(family, families[family])
        else:
            report.errors += find_new_labels(family, families[family])
            report.warnings += find_shared_speakers(family, families[family])
            report.warnings += find_look_alikes(family, families[family])
    return report


def _family_of(split: str) -> tuple[str, str]:
    """Split "sid_train" into ("sid_", "train"): only splits of one family are compared."""
    head, sign, tail = split.rpartition("_")
    return (head + sign, tail) if tail in _PARTS else ("", split)


def _with_speakers_alone(cuts: CutSet) -> CutSet:
    """Give utterances without all other labels, which nothing reads in splits for `sid`."""
    return CutSet.from_cuts(
        replace(cut, supervisions=[replace(s, **_NO_LABELS) for s in cut.supervisions])
        for cut in cuts
    )


def _find_counts(loaded: Loaded) -> Iterator[str]:
    """Compare the numbers of utterances with the corpus' official ones."""
    found = {name: len(loaded.splits.get(name, ())) for name in loaded.expected}
    for name, expected in loaded.expected.items():
        if found[name] != expected:
            missing = expected - found[name]
            kind = f"{missing} missing" if missing > 0 else "more than there are"
            yield f"{name}: {found[name]} utterances, the whole corpus has {expected} ({kind})"
    if loaded.source and any(found[name] < n for name, n in loaded.expected.items()):
        yield f"for the whole corpus {loaded.source}"


def _find_ids(loaded: Loaded) -> Iterator[str]:
    """Name ids that a split holds more than once: nothing could tell their utterances apart."""
    for name, cuts in loaded.splits.items():
        twice = [key for key, count in Counter(cut.id for cut in cuts).items() if count > 1]
        if twice:
            yield f"{name}: {len(twice)} ids occur more than once: {', '.join(twice[:SHOWN])}"


def _check_audio(loaded: Loaded, unique: Mapping[Key, Cut], report: CheckReport) -> None:
    """Decode every utterance once, in parallel; compare contents.

    The same audio on both sides of a split makes its scores worthless. A known corpus is compared
    with what others report on it, as it is: there it is a warning.
    """
    same: dict[str, list[Key]] = defaultdict(list)
    silent = []
    found = in_threads(_decode, list(unique.values()), "checking audio", os.cpu_count() or 1)
    for key, heard in zip(unique, found, strict=True):
        if isinstance(heard, DataError):
            why = f" ({heard.found})" if heard.found else ""
            report.unusable[key] = f"{key[0]}: {heard.what}: {heard.where}{why}"
        elif heard == _SILENT:
            silent.append(key[0])
        else:
            same[heard].append(key)
    report.errors += report.unusable.values()
    if silent:
        report.warnings.append(f"{len(silent)} utterances are silent: {', '.join(silent[:5])}")
    home: dict[Key, dict[str, str]] = defaultdict(dict)
    for split, cuts in loaded.splits.items():
        family, part = _family_of(split)
        for cut in cuts:
            home[cut_key(cut)][family] = part
    within = []

    def file_of(key: Key) -> str:
        name, file = key[0], Path(unique[key].recording.sources[0].source)
        return name if file.stem in name else f"{name} ({file.name})"

    for keys in (keys for keys in same.values() if len(keys) > 1):
        text = f"the same audio {len(keys)} times: {', '.join(map(file_of, keys[:5]))}"
        found_in = set().union(*(home[key] for key in keys))
        homes = [{home[key].get(family) for key in keys} for family in found_in]
        if not loaded.official and any(len(parts - {None}) > 1 for parts in homes):
            report.errors.append(f"{text}, in different splits: keep one of them")
        else:
            within.append(text)
    report.warnings += within[:SHOWN]
    if len(within) > SHOWN:
        report.warnings.append(f"and {len(within) - SHOWN} more sets of equal audio")


def _decode(cut: Cut) -> str | DataError:
    try:
        waveform = load_waveform(cut).numpy()
        return hashlib.sha256(waveform.tobytes()).hexdigest() if waveform.any() else _SILENT
    except DataError as error:
        return error


def _describe_audio(cuts: Iterable[Cut]) -> Iterator[str]:
    """Say what happens to the audio, or may be too much for memory."""
    known = [(cut, getattr(cut, "recording", None)) for cut in cuts]
    rates = Counter(r.sampling_rate for _, r in known if r is not None)
    channels = Counter(len(r.sources[0].channels) for _, r in known if r is not None)
    for rate, count in sorted(rates.items()):
        if rate != SAMPLE_RATE:
            yield f"{count} utterances have {rate} Hz and are resampled to {SAMPLE_RATE} Hz"
    for number, count in sorted(channels.items()):
        if number != 1:
            yield f"{count} utterances have {number} channels, which are mixed into one"
    long = [cut.id for cut, _ in known if cut.duration > LONGEST_SECONDS]
    if long:
        shown = ", ".join(long[:5])
        yield f"{len(long)} utterances are longer than {LONGEST_SECONDS:g} s: {shown}"


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
        if new and known and (kind != "speaker" or prefix.endswith(_CLOSED)):
            yield f"{prefix}{name}: {kind} not in {prefix}train: {', '.join(new[:SHOWN])}"


def find_one_value(split: str, cuts: CutSet) -> Iterator[str]:
    """Say which labels are the same for all: no task on them has anything to learn."""
    found = _labels(cuts)
    for supervision in (s for cut in cuts for s in cut.supervisions):
        for kind, value in ((supervision.custom or {}).get(FURTHER) or {}).items():
            found[kind].add(str(value))
    for kind, values in found.items():
        if len(values) == 1 and len(cuts) > 1:
            same = f"all have the same {kind}, {min(values)}"
            yield f"{split}: {same}: there is nothing to tell apart"


def find_shared_speakers(prefix: str, parts: Mapping[str, CutSet]) -> Iterator[str]:
    """Name speakers of dev and test who are in train too, where speakers are no classes."""
    for name, kind, values, known in _compared(parts, _labels):
        both = sorted(values & known)
        if both and kind == "speaker" and not prefix.endswith(_CLOSED):
            shown = ", ".join(both[:SHOWN])
            yield f"{prefix}{name}: {len(both)} speakers are in {prefix}train too: {shown}"


def find_look_alikes(prefix: str, parts: Mapping[str, CutSet]) -> Iterator[str]:
    """Name labels that only a computer tells apart: they count as different ones."""
    found = _labels(cut for cuts in parts.values() for cut in cuts)
    for kind, values in found.items():
        for own in look_alike(values)[:SHOWN]:
            yield f"{prefix}{kind}: these look alike and count as different ones: {own}"


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
