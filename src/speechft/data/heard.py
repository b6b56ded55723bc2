"""How much audio is left behind a cut's effects, remembered for large data."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from lhotse.cut import Cut

from speechft.core.files import hash_json, read_json, write_json
from speechft.core.known_hashes import cache_folder
from speechft.core.logging import progress_bar
from speechft.data.audio import cut_path, load_waveform
from speechft.data.effects import effects_of

VERSION: Final = 1  # raise it when an effect gives other audio
MANY: Final = 1000  # cuts from which on lengths are remembered
_THREADS: Final = 8


def heard_lengths(cuts: Sequence[Cut]) -> list[int]:
    """Give the samples of each cut as `load_waveform` gives it; all audio is read for that.

    For 1000 cuts or more the answer is remembered until a file's size or time changes.

    Raises:
        DataError: audio cannot be read.
    """
    if len(cuts) < MANY:
        return _measure(cuts)
    file = cache_folder() / "heard" / f"{hash_json([VERSION, *map(_stamp, cuts)])[:32]}.json"
    with suppress(OSError, ValueError):
        known = read_json(file)
        if isinstance(known, list) and len(known) == len(cuts):
            return [int(length) for length in known]
    lengths = _measure(cuts)
    with suppress(OSError):
        write_json(file, lengths)
    return lengths


def _measure(cuts: Sequence[Cut]) -> list[int]:
    lengths = []
    with progress_bar() as bar, ThreadPoolExecutor(_THREADS) as pool:
        task = bar.add_task("listening for silence", total=len(cuts), note="")
        for length in pool.map(lambda cut: len(load_waveform(cut)), cuts):
            lengths.append(length)
            bar.advance(task)
    return lengths


def _stamp(cut: Cut) -> list[Any]:
    path = cut_path(cut)
    place = Path(path).resolve()
    stat = place.stat() if place.is_file() else None
    times = [0, 0] if stat is None else [stat.st_size, stat.st_mtime_ns]
    return [str(place), *times, cut.start, cut.duration, effects_of(cut)]
