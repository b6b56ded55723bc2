"""The data of an evaluation: every task's splits, and what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise
from typing import Literal

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.data.audio import audio_files
from speechft.data.identity import audio_hashes, audio_key, cuts_id
from speechft.data.sources import load_data
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

Splits = dict[str, list[Cut]]
Rules = Literal["clean", "s3prl"]


@dataclass(frozen=True)
class DataSet:
    """One DATA and the tasks that read it.

    Attributes:
        spec: DATA.
        splits: the cuts of every split that a task needs.
        names: task → its train, dev and test splits (several threes where it has folds).
        ids: split → identity, see `data.identity`.
        audio: split → one key per utterance, equal where what the encoder hears is the same.
    """

    spec: str
    splits: Splits
    names: dict[str, list[str]]
    ids: dict[str, str]
    audio: dict[str, list[str]]

    def ids_of(self, task: str) -> dict[str, str]:
        """Give the identities of a task's splits by their parts; folds count from the second on."""
        parts = zip(cycle(("train", "dev", "test")), self.names[task], strict=False)
        return {
            part if n < 3 else f"{part}-{n // 3 + 1}": self.ids[name]
            for n, (part, name) in enumerate(parts)
        }


def read_all(settings: EvaluateSettings, only: str | None = None) -> list[DataSet]:
    """Read every DATA of an evaluation, each once.

    Args:
        settings: of the evaluation.
        only: a task; then only its DATA is read, for all the tasks that share it.

    Raises:
        DataError, SettingsError: as `read_data`.
    """
    tasks: dict[str, list[str]] = {}
    for task in settings.tasks:
        tasks.setdefault(settings.data_of(task), []).append(task)
    wanted = list(tasks) if only is None else [settings.data_of(only)]
    return [read_data(spec, tasks[spec], settings.protocol) for spec in wanted]


def read_data(spec: str, tasks: Sequence[str], protocol: Rules = "clean") -> DataSet:
    """Read a DATA once for all its tasks.

    Raises:
        DataError: a split is missing, empty or holds an id twice, or audio cannot be read.
    """
    splits, names = read_splits(spec, tasks, protocol)
    content = audio_hashes(_all(splits))
    return DataSet(
        spec=spec,
        splits=splits,
        names=names,
        ids={name: cuts_id(cuts, content) for name, cuts in splits.items()},
        audio={name: [audio_key(cut, content) for cut in cuts] for name, cuts in splits.items()},
    )


def glance_at_data(spec: str, tasks: Sequence[str], protocol: Rules = "clean") -> DataSet:
    """Read a DATA without its audio: nothing is hashed, and every file counts as another audio.

    Raises:
        DataError: a split is missing, empty or holds an id twice.
    """
    splits, names = read_splits(spec, tasks, protocol)
    itself = {file: file for cut in _all(splits) for file in audio_files(cut)}
    audio = {name: [audio_key(cut, itself) for cut in cuts] for name, cuts in splits.items()}
    return DataSet(spec=spec, splits=splits, names=names, ids={}, audio=audio)


def read_splits(
    spec: str, tasks: Sequence[str], protocol: Rules = "clean"
) -> tuple[Splits, dict[str, list[str]]]:
    """Read the cuts of every split that a task needs, and each task's names of its splits.

    Raises:
        DataError: a split is missing, empty or holds an id twice.
    """
    loaded = {
        name: sorted(cuts, key=lambda cut: str(cut.id)) for name, cuts in load_data(spec).items()
    }
    splits: Splits = {}
    names: dict[str, list[str]] = {}
    for task in tasks:
        try:
            arranged = TASKS[task].arrange(loaded, protocol)
        except DataError as error:
            raise type(error)(
                error.what,
                where=error.where or spec,
                expected=error.expected,
                found=error.found,
                hint=error.hint,
            ) from None
        names[task] = [name for name, _ in arranged]
        splits |= dict(arranged)
    for name in sorted({name for own in names.values() for name in own}):
        if not splits[name]:
            raise DataError(f"the split {name!r} is empty", where=spec, expected="utterances")
    for name in set(splits) & set(loaded):
        for one, other in pairwise(loaded[name]):
            if one.id == other.id:
                raise DataError("two utterances have one id", where=spec, found=one.id)
    return {name: splits[name] for name in sorted(splits)}, names


def _all(splits: Splits) -> Iterable[Cut]:
    return (cut for cuts in splits.values() for cut in cuts)
