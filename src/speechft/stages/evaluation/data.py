"""The splits of an evaluation, and hashes of what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.files import hash_file, hash_json
from speechft.data.sources import load_data
from speechft.tasks import TASKS, choose_splits

Splits = dict[str, list[Cut]]


def read_splits(spec: str, tasks: Sequence[str]) -> tuple[Splits, dict[str, tuple[str, str, str]]]:
    """Read the data once for all tasks.

    Returns:
        The cuts of every split that a task needs, sorted by id, and each task's names of its
        train, dev and test splits.

    Raises:
        DataError: a split is empty or holds an id twice.
        SettingsError: a split is missing.
    """
    data = load_data(spec)
    names = {task: choose_splits(TASKS[task], data) for task in tasks}
    splits: Splits = {}
    for split in sorted({name for three in names.values() for name in three}):
        cuts = sorted(data[split], key=lambda cut: str(cut.id))
        if not cuts:
            raise DataError(f"the split {split!r} is empty", where=spec, expected="utterances")
        for one, other in pairwise(cuts):
            if one.id == other.id:
                raise DataError("two utterances have one id", where=spec, found=one.id)
        splits[split] = cuts
    return splits, names


def hash_splits(splits: Mapping[str, Sequence[Cut]]) -> dict[str, str]:
    """Give a hash per split over ids, times, labels and the bytes of the audio files.

    Paths do not matter, so that the same data has the same hash on every machine.
    """
    files = {source for cuts in splits.values() for cut in cuts for source in _files(cut)}
    with ThreadPoolExecutor(4) as pool:
        content = dict(zip(sorted(files), pool.map(_hash, sorted(files)), strict=True))
    return {
        name: hash_json([_describe(cut, content) for cut in cuts]) for name, cuts in splits.items()
    }


def _describe(cut: Cut, content: Mapping[str, str]) -> list[Any]:
    supervisions = [s.to_dict() for s in cut.supervisions]
    audio = [content[source] for source in _files(cut)]
    return [cut.id, cut.start, cut.duration, getattr(cut, "channel", 0), supervisions, audio]


def _files(cut: Cut) -> Iterable[str]:
    recording = getattr(cut, "recording", None)
    sources = recording.sources if recording is not None else []
    return [str(source.source) for source in sources if source.type == "file"]


def _hash(path: str) -> str:
    try:
        return hash_file(Path(path))
    except OSError as error:
        raise DataError(
            "cannot read an audio file", where=path, found=error, hint="check the data's paths"
        ) from None
