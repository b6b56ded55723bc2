"""`speechft data check`: what is wrong with data (errors), and what one should know (warnings)."""

from __future__ import annotations

from collections import Counter, defaultdict

from speechft.core.errors import DataError
from speechft.data.check_audio import check_audio, describe_audio
from speechft.data.check_labels import (
    check_gaps,
    check_texts,
    compare_splits,
    kinds_of,
    note_audio_alone,
    note_new_classes,
    summarise,
)
from speechft.data.check_report import SHOWN, CheckReport, family_of
from speechft.data.sources import find_data
from speechft.data.utterances import Loaded

__all__ = ["CheckReport", "check_data", "check_loaded"]

_PARTS = ("train", "dev", "test")


def check_data(spec: str, seed: int = 0, *, allow_commands: bool = False) -> CheckReport:
    """Check all of the data: every file is decoded, labels are compared between splits.

    Never raises for bad data; what cannot be loaded at all is one error. Arguments as
    `sources.load_data`.
    """
    try:
        loaded = find_data(spec, seed, allow_commands=allow_commands)
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
        check_audio(loaded, unique, report)
    report.warnings += describe_audio(unique.values())
    if not loaded.official:
        note_audio_alone(loaded.splits.values(), report)
    held = _held(loaded)
    for name, cuts in loaded.splits.items():
        check_texts(name, cuts, report)
        family, part = family_of(name)
        if part in _PARTS:
            check_gaps(name, cuts, held.get(family, set()), report)
        report.summary[name] = summarise(cuts)
    for prefix in sorted({family_of(name)[0] for name in loaded.splits}):
        parts = {family_of(n)[1]: c for n, c in loaded.splits.items() if family_of(n)[0] == prefix}
        if loaded.official:
            note_new_classes(prefix, parts, report)
        else:
            compare_splits(prefix, parts, report)
    return report


def _held(loaded: Loaded) -> dict[str, set[str]]:
    """Give family → kinds of labels in its splits; a known corpus' splits may differ in them."""
    result: dict[str, set[str]] = defaultdict(set)
    for name, cuts in loaded.splits.items():
        family, part = family_of(name)
        if part in _PARTS and not loaded.official:
            result[family] |= kinds_of(cuts)
    return result


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
            shown = ", ".join(twice[:SHOWN])
            report.errors.append(f"{name}: {len(twice)} ids occur more than once: {shown}")
