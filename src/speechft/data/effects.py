"""Changes of the audio that a task asks for: gain, removed silence, a fixed crop.

A cut carries them in its supervision's `custom["effects"]`, a list of strings that `load_waveform`
applies in their order, and in `custom["samples"]` the number of samples that are left. Fixed crops
are drawn once per utterance from its id, so that hidden states can be kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from lhotse.cut import Cut
from numpy.typing import NDArray
from torch import Tensor

from speechft.core.errors import DataError
from speechft.core.seeding import numpy_generator

# S3PRL's recipes of KS, QbE and ASV turn the volume down by this much.
GAIN: Final = "gain:-3"
TRIM: Final = "silence"
RATE: Final = 16000
_WINDOW = RATE // 50  # 20 ms, over which the level is measured
_HOLD = RATE // 10  # 0.1 s
_THRESHOLD = 0.001  # 0.1 % of full scale


def crop(start: int, length: int) -> str:
    """Give the effect that keeps `length` samples from `start` on."""
    return f"crop:{start}:{length}"


def effects_of(cut: Cut) -> list[str]:
    """Give the effects that a cut carries."""
    for supervision in cut.supervisions[:1]:
        return list((supervision.custom or {}).get("effects", ()))
    return []


def heard_seconds(cut: Cut) -> float:
    """Give the seconds of audio that `load_waveform` will give."""
    for supervision in cut.supervisions[:1]:
        samples = (supervision.custom or {}).get("samples")
        if samples is not None:
            return float(samples) / RATE
    return float(cut.duration)


def heard_samples(cut: Cut) -> int:
    """Give the samples at 16 kHz that `load_waveform` will give."""
    return round(heard_seconds(cut) * RATE)


def with_effects(cut: Cut, effects: Sequence[str], samples: int | None = None) -> Cut:
    """Give the cut with further effects; `samples` is what is left behind them, where known."""
    supervision: Any = cut.supervisions[0]
    custom = {**(supervision.custom or {}), "effects": [*effects_of(cut), *effects]}
    if samples is not None:
        custom["samples"] = samples
    changed: Any = [replace(supervision, custom=custom), *cut.supervisions[1:]]
    return replace(cut, supervisions=changed)


def apply_effects(wave: Tensor, effects: Sequence[str]) -> Tensor:
    """Apply effects, in order, to a 16 kHz waveform (S,).

    Raises:
        DataError: an effect is not known.
    """
    for effect in effects:
        name, *values = effect.split(":")
        if name == "gain" and len(values) == 1:
            wave = (wave * 10 ** (float(values[0]) / 20)).clamp(-1.0, 1.0)
        elif effect == TRIM:
            wave = trim_silence(wave)
        elif name == "crop" and len(values) == 2:
            start, length = int(values[0]), int(values[1])
            wave = wave[start : start + length]
        else:
            raise DataError(
                f"unknown effect {effect!r}", expected="gain:DB, silence or crop:START:LENGTH"
            )
    return wave


def trim_silence(wave: Tensor, shortest: int = 6400) -> Tensor:
    """Remove silence at the start, and every later stretch of it longer than 0.1 s.

    The level is the root mean square over the last 20 ms, silence is a level of at most 0.1 % of
    full scale. Audio begins with 0.1 s without a silent sample, and again so after each removed
    stretch. Where less than `shortest` samples would be left the waveform stays as it is.

    Source:
        sox: `silence 1 0.1 0.1% -1 0.1 0.1%`, as S3PRL's ASV applies it.
    """
    samples = wave.double().numpy()
    squares = np.concatenate([[0.0], np.cumsum(samples * samples)])
    kept: list[NDArray[np.float64]] = []
    position = 0
    while position < len(samples):
        loud = _loud(squares, position)
        begin = _first_run(loud, _HOLD)
        if begin is None:
            break
        end = _first_run(~loud[begin:], _HOLD)
        stop = len(samples) if end is None else position + begin + end
        kept.append(samples[position + begin : stop])
        position = len(samples) if end is None else stop + _HOLD
    left = np.concatenate(kept) if kept else np.zeros(0)
    return torch.from_numpy(left).to(wave.dtype) if len(left) >= shortest else wave


def _loud(squares: NDArray[np.float64], first: int) -> NDArray[np.bool_]:
    """Tell for each sample from `first` on whether the level is above silence.

    Samples before `first` count as zeros, as in sox, which clears its window at each new start.
    """
    ends = squares[first + 1 :]
    begins = np.full_like(ends, squares[first])
    begins[_WINDOW:] = ends[:-_WINDOW]
    level: NDArray[np.bool_] = np.sqrt(np.maximum(ends - begins, 0) / _WINDOW) > _THRESHOLD
    return level


def _first_run(flags: NDArray[np.bool_], length: int) -> int | None:
    """Give the start of the first run of `length` true values."""
    if len(flags) < length:
        return None
    counts = np.concatenate([[0], np.cumsum(flags)])
    full = np.flatnonzero(counts[length:] - counts[:-length] == length)
    return int(full[0]) if len(full) else None


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
