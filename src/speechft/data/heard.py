"""The audio of a cut as lhotse means it: its channels, its part of the file, its transforms.

`cut.load_audio()` decides what is heard; only the files are decoded here, since lhotse's readers
may start programs and open URLs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from lhotse import MonoCut, MultiCut
from lhotse.audio import AudioSource
from lhotse.audio.utils import AudioLoadingError
from lhotse.augmentation import AudioTransform
from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.data.decoding import Samples, decode

TRANSFORMS: Final = ("Speed", "Resample", "Volume")
"""Those that give the same samples at every call, and read no other audio."""
_PREPARE: Final = "`speechft data prepare --allow-commands` runs it once and keeps what it gives"
_SAVE: Final = "write what is heard of it with CutSet.save_audios"


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
    for transform in recording.transforms or ():
        name = _transform_of(transform)["name"]
        if name not in TRANSFORMS:
            return f"its recording is changed by {name}; {_SAVE}"
    times = (cut.start, cut.duration, recording.duration)
    if not all(isinstance(t, int | float) and math.isfinite(t) for t in times):
        return f"its times are no numbers: {', '.join(map(str, times))}"
    if cut.start < 0 or cut.duration <= 0:
        return f"start {cut.start:g} and duration {cut.duration:g} leave nothing of it"
    absent = sorted(set(channels_of(cut)) - set(recording.channel_ids))
    return f"its recording has no channel {absent[0]}" if absent else None


def channels_of(cut: Cut) -> list[int]:
    """Give the channels of its recording that a cut is made of, in order."""
    channel = getattr(cut, "channel", 0)
    return [channel] if isinstance(channel, int) else sorted(channel)


def transforms_of(cut: Cut) -> list[dict[str, Any]]:
    """Give the transforms of a cut's recording as plain values."""
    recording = getattr(cut, "recording", None)
    return [_transform_of(one) for one in getattr(recording, "transforms", None) or ()]


def audio_files(cut: Cut) -> list[str]:
    """Give the paths of a cut's audio files."""
    recording = getattr(cut, "recording", None)
    return [str(s.source) for s in getattr(recording, "sources", ()) if s.type == "file"]


def hear(cut: Cut) -> tuple[Samples, int]:
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
        self,
        offset: float = 0.0,
        duration: float | None = None,
        **_opus: object,
    ) -> Samples:
        """Give samples (channels, S)."""
        samples, _ = decode(Path(str(self.source)), offset, duration)
        return samples.T


def _transform_of(transform: Any) -> dict[str, Any]:
    return dict(transform.to_dict() if isinstance(transform, AudioTransform) else transform)
