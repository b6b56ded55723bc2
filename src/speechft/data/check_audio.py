"""Checks of audio: can it be decoded, is it there twice, what is done with it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.logging import progress_bar
from speechft.data.audio import SAMPLE_RATE, load_waveform
from speechft.data.check_report import SHOWN, CheckReport, family_of
from speechft.data.threads import threads
from speechft.data.utterances import Loaded

LONGEST_SECONDS = 30.0
_SILENT = "silent"


def check_audio(loaded: Loaded, unique: Mapping[str, Cut], report: CheckReport) -> None:
    """Decode every utterance once, in parallel; compare contents."""
    home: dict[str, dict[str, str]] = defaultdict(dict)
    for split, cuts in loaded.splits.items():
        family, part = family_of(split)
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
    report.warnings += within[:SHOWN]
    if len(within) > SHOWN:
        report.warnings.append(f"and {len(within) - SHOWN} more sets of equal audio")


def _decode(cut: Cut) -> str | DataError:
    try:
        waveform = load_waveform(cut).numpy()
        return hashlib.sha256(waveform.tobytes()).hexdigest() if waveform.any() else _SILENT
    except DataError as error:
        return error


def describe_audio(cuts: Iterable[Cut]) -> list[str]:
    """Give warnings of what happens to the audio, or may be too much for memory."""
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
