"""Fixed crops: drawn once per utterance from its id, so that hidden states can be kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from lhotse.cut import Cut

from speechft.core.seeding import numpy_generator
from speechft.data.effects import heard_samples

RATE = 16000


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
    duration = length / RATE
    changed: dict[str, Any] = {"start": cut.start + start / RATE, "duration": duration}
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


def renamed(
    name: str, task: str, cuts: Iterable[Cut], changed: Iterable[Cut]
) -> tuple[str, list[Cut]]:
    """Give a split under a name of its own if the task changed it, else as it was."""
    old, new = list(cuts), list(changed)
    same = len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
    return (name, old) if same else (f"{name}@{task}", new)
