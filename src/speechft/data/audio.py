"""From cuts and files to mono 16 kHz float32 waveforms, with every unusable one refused by name.

A cut is heard as lhotse means it (`cut.load_audio()`): its channels, its part of the file, its
recording's transforms. Only the files are decoded here, by libsndfile (WAV, FLAC, MP3, Ogg Vorbis,
Opus, NIST Sphere and relatives), since lhotse's readers may start programs and open URLs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr
import torch
from lhotse import MonoCut, MultiCut
from lhotse.audio import AudioSource
from lhotse.audio.utils import AudioLoadingError
from lhotse.augmentation import AudioTransform
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.data.cuts import audio_files, channels_of, effects_of
from speechft.data.decoding import Samples, decode
from speechft.data.waveform_effects import apply_effects

# One output frame of the usual CNN front end needs 400 samples.
SHORTEST_SAMPLES = 400
TRANSFORMS: Final = ("Speed", "Resample", "Volume")
"""Those that give the same samples at every call, and read no other audio."""
# Recordings in floating point may pass 1 a little; sixteen times is another scale.
_LOUDEST = 16.0
_PREPARE: Final = "`speechft data prepare --allow-commands` runs it once and keeps what it gives"
_ROUNDED = 0.05  # seconds: times of manifests are rounded
_SAVE: Final = "write what is heard of it with CutSet.save_audios"


def load_waveform(cut: Cut) -> Tensor:
    """Read the audio of a cut: (S,) float32, 16 kHz, mean of its channels, within [-1, 1].

    It is what `cut.load_audio()` gives; effects that the cut carries are applied then.

    Raises:
        DataError: the file is missing, cannot be decoded, is empty, is too short, or holds values
            that are not finite; or the cut cannot be heard as it is meant.
    """
    wave = _as_wave(*_hear(cut), where=", ".join(audio_files(cut)))
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


def fault_of_audio(cut: Cut) -> str | None:
    """Say why a cut cannot be heard as it is meant; None where it can.

    Every cut that is read passes here, so that nothing which starts a process or opens a URL is
    ever asked for its audio.
    """
    if not isinstance(cut, MonoCut | MultiCut):
        return f"it is a {type(cut).__name__}; {_SAVE}"
    recording = cut.recording
    if recording is None or not recording.sources:
        return "it has no recording"
    for source in recording.sources:
        if source.type == "command":
            return f"its audio comes from a command; {_PREPARE}"
        if source.type != "file" or not isinstance(source.source, str):
            return f"its audio is of type {source.type!r}, not a file; get the file first"
        if source.video is not None:
            return f"its audio is that of a video; {_SAVE}"
    for name in (transform["name"] for transform in transforms_of(cut)):
        if name not in TRANSFORMS:
            return f"its recording is changed by {name}; {_SAVE}"
    times = (cut.start, cut.duration, recording.duration)
    if not all(isinstance(t, int | float) and math.isfinite(t) for t in times):
        return f"its times are no numbers: {', '.join(map(str, times))}"
    if cut.start < 0 or cut.duration <= 0:
        return f"start {cut.start:g} and duration {cut.duration:g} leave nothing of it"
    if cut.start + cut.duration > recording.duration + _ROUNDED:
        end, whole = cut.start + cut.duration, recording.duration
        return f"it ends at {end:g} s, behind the end of its audio ({whole:g} s)"
    if not channels_of(cut):
        return "it is of no channel"
    there = {channel for source in recording.sources for channel in source.channels}
    absent = sorted(set(channels_of(cut)) - there.intersection(recording.channel_ids))
    return f"its recording has no channel {absent[0]}" if absent else None


def transforms_of(cut: Cut) -> list[dict[str, Any]]:
    """Give the transforms of a cut's recording as plain values."""
    recording = getattr(cut, "recording", None)
    return [_plain(one) for one in getattr(recording, "transforms", None) or ()]


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


def _hear(cut: Cut) -> tuple[Samples, int]:
    """Give the samples of a cut (S, channels) and their rate.

    Raises:
        DataError: the cut cannot be heard as it is meant, or a file cannot be decoded.
    """
    fault = fault_of_audio(cut)
    if fault:
        raise DataError("the audio of the cut cannot be used", where=cut.id, found=fault)
    recording: Any = getattr(cut, "recording", None)
    if len(recording.sources) == 1 and not recording.transforms:
        samples, rate = decode(Path(recording.sources[0].source), cut.start, cut.duration)
        known = recording.sources[0].channels
        columns = [known.index(channel) for channel in channels_of(cut)]
        if len(columns) == samples.shape[1]:
            return samples, rate
        if max(columns) >= samples.shape[1]:
            raise DataError(
                "the audio has fewer channels than its cut says",
                where=recording.sources[0].source,
                expected=f"channel {max(columns)}",
                found=f"{samples.shape[1]} channels",
            )
        return samples[:, columns], rate
    own = [_Decoded(s.type, s.channels, s.source) for s in recording.sources]
    changed: Any = replace(cut, recording=replace(recording, sources=own))
    try:
        heard = changed.load_audio()
    except (DataError, AudioLoadingError, ValueError, AssertionError, RuntimeError) as error:
        said = str(error).partition("\n[extra info]")[0]
        raise DataError("the audio of the cut cannot be used", where=cut.id, found=said) from None
    return np.atleast_2d(heard).T.astype(np.float32, copy=False), recording.sampling_rate


class _Decoded(AudioSource):  # type: ignore[misc]  # lhotse has no types
    """A source whose file is decoded by this package."""

    def load_audio(
        self, offset: float = 0.0, duration: float | None = None, **_opus: object
    ) -> Samples:
        """Give samples (channels, S)."""
        samples, _ = decode(Path(str(self.source)), offset, duration)
        return samples.T


def _plain(transform: Any) -> dict[str, Any]:
    return dict(transform.to_dict() if isinstance(transform, AudioTransform) else transform)
