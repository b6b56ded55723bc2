"""What `speechft predict` is to hear: files, folders of audio, and the utterances of DATA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.paths import home_expanded
from speechft.data.cuts import cut_key, place_of
from speechft.data.data_names import is_synthetic, named_kind
from speechft.data.load import find_data
from speechft.data.manifests import SUFFIXES as CUTS
from speechft.data.split_names import split_of
from speechft.data.table_files import SUFFIXES as TABLES
from speechft.data.utterances import Utterance, load_splits
from speechft.prediction.audio_files import find_audio


class Recording(NamedTuple):
    """What one prediction is for.

    Attributes:
        file: the audio's path, as it was given.
        cut: what is heard of it; None where that cannot be.
        error: why not.
        id: of an utterance of DATA.
    """

    file: str
    cut: Cut | None
    error: str = ""
    id: str = ""


def find_recordings(names: Sequence[str], split: str | None = None) -> list[Recording]:
    """Give all recordings, in the order in which they are named; bad ones with what is wrong.

    Args:
        names: files, folders that are searched for audio, and DATA.
        split: of DATA; all of them if not given.

    Raises:
        DataError: DATA cannot be read, or has no such split.
    """
    found: list[Recording] = []
    for is_data, group in groupby(dict.fromkeys(names), _is_data):
        same = list(group)
        found += [r for name in same for r in _of_data(name, split)] if is_data else _of_files(same)
    return found


def _is_data(name: str) -> bool:
    path = home_expanded(name)
    if path.is_dir():
        return not _audio_in(name) and any(_is_table(inside) for inside in path.iterdir())
    if path.exists():
        return _is_table(path)
    return is_synthetic(name) or bool(named_kind(name)[0])


def _is_table(path: Path) -> bool:
    return path.name.endswith((*TABLES, *CUTS))


def _audio_in(name: str) -> list[Path]:
    try:
        return find_audio([name])
    except DataError:
        return []


def _of_data(name: str, split: str | None) -> Iterator[Recording]:
    """Give the utterances of DATA; rows of a table in its order."""
    loaded = find_data(name)
    wanted = loaded.splits
    if split is not None:
        wanted = {split: loaded.splits[split_of(loaded.splits, split, name)]}
    # An utterance may be in several splits, and has a cut of its own in each file of cuts.
    cuts = {cut_key(cut): cut for part in wanted.values() for cut in part}.values()
    for problem in loaded.problems:
        yield Recording(name, None, problem)
    for cut in sorted(cuts, key=lambda cut: str(cut.id)) if name.endswith(TABLES) else cuts:
        yield Recording(str(place_of(cut)["file"]), cut, id=str(cut.id))


def _of_files(names: Iterable[str]) -> Iterator[Recording]:
    paths: dict[Path, str] = {}
    for name in names:
        try:
            paths |= dict.fromkeys(find_audio([name]), "")
        except DataError as error:
            paths[Path(name)] = error.what
    named = [Utterance(str(path), path) for path, fault in paths.items() if not fault]
    loaded = load_splits({"": named})
    cuts = {cut.id: cut for cut in loaded.splits[""]}
    wrong = iter(loaded.problems)  # in the order of the files
    for path, fault in paths.items():
        cut = cuts.get(str(path))
        text = fault or ("" if cut else next(wrong).removeprefix(f"{path}: "))
        yield Recording(str(path), cut, text)
