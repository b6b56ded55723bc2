"""What cuts hold, not where it lies: their audio files, and hashes of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.files import hash_json
from speechft.core.known_hashes import known_hashes
from speechft.core.logging import progress_bar
from speechft.data.effects import effects_of


def audio_hashes(cuts: Iterable[Cut]) -> dict[str, str]:
    """Give a hash per audio file; files that nothing has touched since are not read again.

    Raises:
        DataError: a file cannot be read.
    """
    files = {source for cut in cuts for source in audio_files(cut)}
    with progress_bar() as bar:
        task = bar.add_task("hashing audio", total=len(files), note="")
        try:
            return known_hashes(files, lambda: bar.advance(task))
        except OSError as error:
            raise DataError(
                "cannot read an audio file",
                where=error.filename,
                found=error.strerror,
                hint="check the data's paths",
            ) from None


def audio_part(cut: Cut, hashes: Mapping[str, str]) -> list[Any]:
    """Give the hashes of a cut's files, its start and duration in seconds, and its channel."""
    audio = [hashes[source] for source in audio_files(cut)]
    return [audio, cut.start, cut.duration, channel_of(cut)]


def audio_key(cut: Cut, hashes: Mapping[str, str]) -> str:
    """Hash what is heard of a cut: the files, the part of them, and what is done to it."""
    return hash_json([*audio_part(cut, hashes), effects_of(cut)])[:32]


def audio_keys(cuts: Sequence[Cut]) -> list[str]:
    """Give `audio_key` of every cut.

    Raises:
        DataError: a file cannot be read.
    """
    hashes = audio_hashes(cuts)
    return [audio_key(cut, hashes) for cut in cuts]


def channel_of(cut: Cut) -> Any:
    """Give the channel or channels of a cut; 0 where it says none."""
    return getattr(cut, "channel", 0)


def audio_files(cut: Cut) -> list[str]:
    """Give the paths of a cut's audio files."""
    recording = getattr(cut, "recording", None)
    sources = recording.sources if recording is not None else []
    return [str(source.source) for source in sources if source.type == "file"]
