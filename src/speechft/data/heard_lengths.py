"""How much audio is left behind a cut's effects, remembered for large data."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from lhotse.cut import Cut

from speechft.core.artifact import hash_values
from speechft.core.files import read_json, write_json
from speechft.core.places import cache_folder
from speechft.data.audio import load_waveform
from speechft.data.identity import audio_keys
from speechft.data.utterances import in_threads

VERSION: Final = 2  # raise it when an effect gives other audio
MANY: Final = 1000  # cuts from which on lengths are remembered
_THREADS: Final = 8


def heard_lengths(cuts: Sequence[Cut]) -> list[int]:
    """Give the samples of each cut as `load_waveform` gives it; all audio is read for that.

    For 1000 cuts or more the answer is remembered under what is heard of them.

    Raises:
        DataError: audio cannot be read.
    """
    if len(cuts) < MANY:
        return _measure(cuts)
    file = cache_folder() / "heard" / f"{hash_values([VERSION, audio_keys(cuts)])}.json"
    with suppress(OSError, ValueError):
        known = read_json(file)
        if isinstance(known, list) and len(known) == len(cuts):
            return [int(length) for length in known]
    lengths = _measure(cuts)
    with suppress(OSError):
        write_json(file, lengths)
    return lengths


def _measure(cuts: Sequence[Cut]) -> list[int]:
    return in_threads(lambda cut: len(load_waveform(cut)), cuts, "listening for silence", _THREADS)
