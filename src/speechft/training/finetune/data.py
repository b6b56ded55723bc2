"""The data of a fine-tuning: the utterances of each task, and those that are rehearsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import DataError, MissingSplitError
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.seeding import numpy_generator
from speechft.data.augmentation import Noise, at_speed
from speechft.data.cuts import audio_files
from speechft.data.identity import audio_key
from speechft.data.load import load_data, refuse_long
from speechft.data.utterances import first_seconds
from speechft.hidden.decode_ahead import Waveforms
from speechft.tasks import Task, arranged, check_labels, refuse_empty
from speechft.training.batch_stream import ItemSource, Position

Splits = Mapping[str, Iterable[Cut]]


@dataclass(frozen=True)
class TaskData:
    """A task with the utterances that it is trained on and those that it is scored on meanwhile."""

    task: Task
    cuts: list[Cut]
    dev: list[Cut]

    def spoken(self, speeds: Sequence[float]) -> list[Cut]:
        """Give what is trained on: all utterances at the first speed, then at the next.

        Raises:
            DataError: one of them cannot be heard at another speed.
        """
        return [at_speed(cut, speed) for speed in speeds or (1.0,) for cut in self.cuts]


def read_task(
    kind: type[Task],
    data: Splits,
    spec: str,
    hours: float | None = None,
    seed: int = 0,
    longest: float = LONGEST_SECONDS,
) -> TaskData:
    """Give a task, its classes or vocabulary fixed, with its cuts.

    Args:
        kind: the task.
        data: split → cuts.
        spec: the DATA, for messages.
        hours: of speech to train on, drawn by the seed; all if not given. Classes and vocabulary
            are those of all utterances, so that heads for different amounts are alike.
        seed: of the draw.
        longest: seconds of an utterance.

    Raises:
        DataError: there is nothing to train on, less than `hours`, labels are missing, or an
            utterance is too long.
    """
    cuts, dev = choose_cuts(kind, data, spec)
    task = kind.from_cuts(cuts)
    check_labels(task, dev)
    for part in (cuts, dev):
        refuse_empty(task, part)
    if hours is not None:
        cuts = _some_hours(cuts, hours, seed, spec)
    refuse_long(spec, [*cuts, *dev], longest)
    return TaskData(task, cuts, dev)


def choose_cuts(kind: type[Task], data: Splits, spec: str) -> tuple[list[Cut], list[Cut]]:
    """Give the cuts to train on and those to evaluate on meanwhile (possibly none).

    Where all splits are there the task arranges them as it does for probing.

    Raises:
        DataError: there is nothing to train on.
    """
    with suppress(MissingSplitError):
        (_, cuts), (_, dev), *_ = arranged(kind, data, spec)
        return cuts, dev
    train_name, dev_name, _ = kind.splits if kind.splits[0] in data else Task.splits
    if train_name not in data:
        found = ", ".join(sorted(data)) or "no split"
        raise DataError("there is no split to train on", where=spec, expected="train", found=found)
    return list(data[train_name]), list(data.get(dev_name, []))


def rehearsal_cuts(
    spec: str, seconds: float, seed: int, longest: float = LONGEST_SECONDS
) -> list[Cut]:
    """Draw utterances from pre-training data until they last so many seconds.

    Raises:
        DataError: there is no split to draw from, or one of them lasts longer than `longest`.
    """
    data = load_data(spec)
    split = "pretrain" if "pretrain" in data else "train"
    if split not in data:
        found = ", ".join(sorted(data))
        raise DataError("there is no split to rehearse", where=spec, expected=split, found=found)
    drawn = _drawn(list(data[split]), seconds, seed, "rehearsal")
    refuse_long(spec, drawn, longest)
    return drawn


def _some_hours(cuts: Sequence[Cut], hours: float, seed: int, spec: str) -> list[Cut]:
    total = sum(float(cut.duration) for cut in cuts) / 3600
    if total < hours:
        raise DataError(
            "there is less speech to train on than was asked for",
            where=spec,
            expected=f"{hours:g} hours",
            found=f"{total:.3g} hours in {len(cuts)} utterances",
            hint="lower `hours`, or leave it out to train on all",
        )
    return _drawn(cuts, hours * 3600, seed, "hours")


def _drawn(cuts: Sequence[Cut], seconds: float, seed: int, what: str) -> list[Cut]:
    """Draw utterances until they last so many seconds; a longer draw begins with a shorter one."""
    mixed = [cuts[i] for i in numpy_generator(seed, what).permutation(len(cuts)).tolist()]
    return first_seconds(mixed, seconds)


class Pool:
    """Utterances of several tasks, each audio once, so that one cache serves them all."""

    def __init__(self) -> None:
        self.cuts: list[Cut] = []
        self._places: dict[str, int] = {}

    def add(self, cuts: Iterable[Cut]) -> list[int]:
        """Add utterances; give the place of each."""
        return [self._place(cut) for cut in cuts]

    def _place(self, cut: Cut) -> int:
        key = audio_key(cut, {file: file for file in audio_files(cut)})
        if key not in self._places:
            self._places[key] = len(self.cuts)
            self.cuts.append(cut)
        return self._places[key]


class NoisyWaveforms:
    """Loads waveforms of which some get noise: which, and how much, follows from seed and place.

    Args:
        waveforms: of the utterances.
        noise: what is added.
        share: of the utterances that get it.
        ratios: least and greatest ratio of signal to noise, in dB.
        seed: of the draws.
    """

    def __init__(
        self,
        waveforms: Waveforms,
        noise: Noise,
        share: float,
        ratios: Sequence[float],
        seed: int,
    ) -> None:
        self._waveforms, self._noise, self._share = waveforms, noise, share
        self._ratios, self._seed = list(ratios), seed

    def load(self, places: Sequence[int], at: Position) -> list[Tensor]:
        """Give 1-D 16 kHz waveforms of the utterances in one batch."""
        found = self._waveforms.load(places)
        for number, (wave, place) in enumerate(zip(found, places, strict=True)):
            name = self._waveforms.cuts[place].id
            random = numpy_generator(self._seed, "noise", at.epoch, at.batch, number, name)
            if random.random() < self._share:
                found[number] = self._noise.added_to(wave, self._ratios, random)
        return found


class Chosen:
    """A source's items in an order of one's own.

    Args:
        source: loads items by their places.
        places: of the items, in the order that indices refer to.
        noisy: gives some of those of a task with noise, where that is wanted.
        tasks: number of the first items that are those of tasks.
    """

    def __init__(
        self,
        source: ItemSource,
        places: Sequence[int],
        noisy: NoisyWaveforms | None = None,
        tasks: int = 0,
    ) -> None:
        self._source, self._places = source, list(places)
        self._noisy, self._tasks = noisy, tasks

    def load_at(self, indices: Sequence[int], place: Position) -> list[Tensor]:
        """Give the items of a batch, which are of one part, with the noise of its place."""
        if self._noisy is None or indices[0] >= self._tasks:
            return self.load(indices)
        return self._noisy.load([self._places[i] for i in indices], place)

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give the items."""
        items: list[Tensor] = self._source.load([self._places[i] for i in indices])
        return items
