"""Audio files → mono 16 kHz float32 waveforms, with every unusable file refused by name.

Decoded by libsndfile: WAV, FLAC, MP3, Ogg Vorbis, Opus, NIST Sphere and relatives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soxr
import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import DataError
from speechft.data.decoding import Samples, decode
from speechft.data.effects import apply_effects, effects_of
from speechft.data.heard import audio_files, hear

SAMPLE_RATE = 16000
# One output frame of the usual CNN front end needs 400 samples.
SHORTEST_SAMPLES = 400
# Recordings in floating point may pass 1 a little; sixteen times is another scale.
_LOUDEST = 16.0


def load_waveform(cut: Cut) -> Tensor:
    """Read the audio of a cut: (S,) float32, 16 kHz, mean of its channels, within [-1, 1].

    It is what `cut.load_audio()` gives: the cut's channels, and its recording's transforms. Effects
    that the cut carries (`data.effects`) are applied then.

    Raises:
        DataError: the file is missing, cannot be decoded, is empty, is too short, or holds values
            that are not finite; or the cut cannot be heard as it is meant.
    """
    wave = _as_wave(*hear(cut), where=", ".join(audio_files(cut)))
    effects = effects_of(cut)
    return apply_effects(wave, effects) if effects else wave


def read_audio(
    path: Path | str, start: float | None = None, duration: float | None = None
) -> Tensor:
    """Read a file, or a part of it: (S,) float32, 16 kHz, mean of the channels, within [-1, 1].

    Channels are averaged first; another rate is then resampled by soxr at its high quality (linear
    phase, a part at a time gives other edges than the whole); values beyond 1 are clipped last.

    Args:
        path: the audio file.
        start: seconds at which the part begins.
        duration: seconds that it lasts; to the end if not given.

    Raises:
        DataError: see `load_waveform`.
    """
    return _as_wave(*decode(Path(path), start or 0.0, duration), where=path)


def _as_wave(samples: Samples, rate: int, where: Path | str) -> Tensor:
    """Give samples (S, channels) as a 16 kHz waveform (S,)."""
    if not np.isfinite(samples).all():
        bad = int(np.count_nonzero(~np.isfinite(samples).all(axis=1)))
        raise DataError(
            "the audio holds values that are not finite",
            where=where,
            found=f"{bad} of {len(samples)} samples are NaN or infinite",
            hint="write the file again or leave it out",
        )
    wave = samples.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        wave = soxr.resample(wave, rate, SAMPLE_RATE).astype(np.float32, copy=False)
    if len(wave) < SHORTEST_SAMPLES:
        raise DataError(
            "the audio is too short" if len(wave) else "the audio is empty",
            where=where,
            expected=f"at least {SHORTEST_SAMPLES} samples at 16 kHz (25 ms)",
            found=f"{len(wave)} samples",
        )
    loudest = float(np.abs(wave).max())
    if loudest > _LOUDEST:
        raise DataError(
            "the audio is on another scale than [-1, 1]",
            where=where,
            found=f"values up to {loudest:g}",
            hint="16-bit numbers that were stored as floats have to be divided by 32768",
        )
    return torch.from_numpy(np.clip(wave, -1.0, 1.0))
