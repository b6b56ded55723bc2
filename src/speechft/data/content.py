"""What is heard of cuts, not where it lies: the identity of their audio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lhotse.cut import Cut

from speechft.core.artifact import file_hashes, hash_values
from speechft.core.errors import DataError
from speechft.core.logging import progress_bar
from speechft.data.effects import effects_of
from speechft.data.heard import audio_files, channels_of, transforms_of


def audio_keys(cuts: Sequence[Cut]) -> list[str]:
    """Give `audio_key` of every cut.

    Raises:
        DataError: a file cannot be read.
    """
    hashes = audio_hashes(cuts)
    return [audio_key(cut, hashes) for cut in cuts]


def audio_key(cut: Cut, content: Mapping[str, str]) -> str:
    """Give the identity of what is heard of a cut.

    That is the bytes of its files, the channels and the part of them, and all that is done to them.

    Args:
        cut: the cut.
        content: audio file → hash, as `audio_hashes` gives it.
    """
    recording: Any = getattr(cut, "recording", None)
    files = [[s.channels, content[str(s.source)]] for s in getattr(recording, "sources", ())]
    part = [cut.start, cut.duration, channels_of(cut)]
    done = [transforms_of(cut), effects_of(cut)]
    rate = recording.sampling_rate if done[0] else None
    return hash_values([files, part, done, rate])


def audio_hashes(cuts: Iterable[Cut]) -> dict[str, str]:
    """Give a hash per audio file; files that nothing has touched since are not read again.

    Raises:
        DataError: a file cannot be read.
    """
    files = {source for cut in cuts for source in audio_files(cut)}
    with progress_bar() as bar:
        task = bar.add_task("hashing audio", total=len(files), note="")
        try:
            return file_hashes(files, lambda: bar.advance(task))
        except OSError as error:
            raise DataError(
                "cannot read an audio file",
                where=error.filename,
                found=error.strerror,
                hint="check the data's paths",
            ) from None
