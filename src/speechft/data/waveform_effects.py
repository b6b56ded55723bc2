"""Changes of a waveform that a task or a corpus asks for: gain, silence, crop, telephone band.

They are strings, which a cut carries (`cuts.with_effects`) and `audio.load_waveform` applies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import soxr
from numpy.typing import NDArray

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.registry import deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = deferred("torch")

# S3PRL's recipes of KS, QbE and ASV turn the volume down by this much.
GAIN: Final = "gain:-3"
TRIM: Final = "silence"
# To 8 kHz and back: what was recorded so can no longer be told from what was not.
TELEPHONE: Final = "telephone"
_WINDOW = SAMPLE_RATE // 50  # 20 ms, over which the level is measured
_HOLD = SAMPLE_RATE // 10  # 0.1 s
_THRESHOLD = 0.001  # 0.1 % of full scale


def crop(start: int, length: int) -> str:
    """Give the effect that keeps `length` samples from `start` on."""
    return f"crop:{start}:{length}"


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
        elif effect == TELEPHONE:
            half = SAMPLE_RATE // 2
            narrow = soxr.resample(wave.numpy(), SAMPLE_RATE, half)
            narrow = soxr.resample(narrow, half, SAMPLE_RATE)
            wave = torch.from_numpy(np.resize(narrow, len(wave))).clamp(-1.0, 1.0)
        elif name == "crop" and len(values) == 2:
            start, length = int(values[0]), int(values[1])
            wave = wave[start : start + length]
        else:
            raise DataError(
                f"unknown effect {effect!r}",
                expected="gain:DB, silence, telephone or crop:START:LENGTH",
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
