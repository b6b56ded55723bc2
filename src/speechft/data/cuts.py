"""What is said of a cut, and cuts made of cuts: effects, crops, names; no audio is read for it.

Effects that a task asks for (`data.waveform_effects`) are carried in the supervision's
`custom["effects"]`, a list of strings applied in their order, and in `custom["samples"]` the number
of samples left.
Fixed crops are drawn once per utterance from its id, so that hidden states can be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from speechft.core.lengths import SAMPLE_RATE
from speechft.core.seeding import numpy_generator

if TYPE_CHECKING:
    from lhotse.cut import Cut


def effects_of(cut: Cut) -> list[str]:
    """Give the effects that a cut carries."""
    return list(_custom(cut).get("effects", ()))


def heard_seconds(cut: Cut) -> float:
    """Give the seconds of audio that `load_waveform` will give."""
    # Without effects a field of this name is somebody else's.
    samples = _custom(cut).get("samples") if effects_of(cut) else None
    return float(cut.duration) if samples is None else float(samples) / SAMPLE_RATE


def heard_samples(cut: Cut) -> int:
    """Give the samples at 16 kHz that `load_waveform` will give."""
    return round(heard_seconds(cut) * SAMPLE_RATE)


def with_effects(cut: Cut, effects: Sequence[str], samples: int | None = None) -> Cut:
    """Give the cut with further effects; `samples` is what is left behind them, where known."""
    custom = {**_custom(cut), "effects": [*effects_of(cut), *effects]}
    if samples is not None:
        custom["samples"] = samples
    first: Any = replace(cut.supervisions[0], custom=custom)
    return replace(cut, supervisions=[first, *cut.supervisions[1:]])


def crop_start(cut: Cut, total: int, length: int, *names: object) -> int:
    """Draw where a crop of `length` samples begins in an utterance of `total` samples."""
    return int(numpy_generator(0, "crop", cut.id, *names).integers(total - length + 1))


def piece(cut: Cut, start: int, length: int, name: str | None = None) -> Cut:
    """Give `length` samples of a cut, from sample `start` on (at 16 kHz), its labels kept.

    Args:
        cut: one utterance without effects.
        start: first sample.
        length: samples.
        name: the new id; the old one if not given.
    """
    duration = length / SAMPLE_RATE
    changed: dict[str, Any] = {"start": cut.start + start / SAMPLE_RATE, "duration": duration}
    changed["supervisions"] = [
        replace(s, id=name or s.id, start=0.0, duration=duration) for s in cut.supervisions
    ]
    return replace(cut, id=name or cut.id, **changed)


def fixed_crop(cut: Cut, length: int) -> Cut:
    """Give one crop of an utterance that is longer than `length` samples; others stay whole."""
    total = heard_samples(cut)
    return cut if total <= length else piece(cut, crop_start(cut, total, length), length)


def fixed_crops(cut: Cut, length: int, count: int, *names: object) -> list[Cut]:
    """Give `count` crops of a recording that is longer than `length` samples; else itself."""
    total = heard_samples(cut)
    if total <= length:
        return [cut]
    starts = [crop_start(cut, total, length, *names, i) for i in range(count)]
    return [piece(cut, start, length, f"{cut.id}-{i:03d}") for i, start in enumerate(starts)]


def _custom(cut: Cut) -> dict[str, Any]:
    return (cut.supervisions[0].custom or {}) if cut.supervisions else {}


def channels_of(cut: Cut) -> list[int]:
    """Give the channels of its recording that a cut is made of, in order."""
    channel = getattr(cut, "channel", 0)
    return [channel] if isinstance(channel, int) else sorted(channel)


def audio_files(cut: Cut) -> list[str]:
    """Give the paths of a cut's audio files."""
    recording = getattr(cut, "recording", None)
    return [str(s.source) for s in getattr(recording, "sources", ()) if s.type == "file"]


def cut_key(cut: Cut) -> tuple[str, ...]:
    """Tell a cut from others: an utterance in several splits has one key, two of one id have two.

    Files of cuts, and a data set's splits, number their utterances alike.
    """
    place = (cut.start, cut.duration, channels_of(cut))
    return (cut.id, *audio_files(cut), *map(str, place))


def place_of(cut: Cut) -> dict[str, Any]:
    """Give the (first) file of a cut, and from which second to which it is heard."""
    start, end = round(float(cut.start), 4), round(float(cut.end), 4)
    return {"file": next(iter(audio_files(cut)), ""), "start": start, "end": end}


def said_cut(cut: Cut) -> str:
    """Name a cut for a person: its id, and the file that it is heard in."""
    return " of ".join([f"cut {cut.id}", *audio_files(cut)[:1]])
