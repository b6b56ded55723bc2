"""Batches of similar duration: the list for an epoch is a function of seed and epoch alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Final, Protocol

import numpy as np

from speechft.core.errors import SettingsError
from speechft.core.seeding import numpy_generator

_BLUR: Final = 0.05
"""By which the durations of one batch differ: at 0.1, 5 to 9 % of a batch of 64 s was padding."""


class DurationBatches:
    """Groups utterances of similar duration into batches of bounded padded length.

    A batch holds as many utterances as fit: its longest duration times its size stays within
    `max_seconds`. An utterance longer than that is a batch of its own. There is no hidden state, so
    a run can go on at any batch of any epoch.

    Args:
        durations: seconds of each utterance.
        max_seconds: bound on a batch, padding included, in seconds.
        seed: decides the order.
        shuffle: draw the order anew in every epoch; otherwise from short to long, as given where
            durations are equal.
        max_items: bound on the utterances of a batch.

    Raises:
        SettingsError: a bound is not positive, or a duration is negative or not finite.
    """

    def __init__(
        self,
        durations: Sequence[float],
        max_seconds: float,
        seed: int,
        shuffle: bool = True,
        max_items: int | None = None,
    ) -> None:
        self.durations = np.asarray(durations, dtype=np.float64)
        if not max_seconds > 0 or (max_items is not None and max_items < 1):
            raise SettingsError(
                "a batch must have room for something",
                expected="max_seconds > 0 and max_items >= 1",
                found=f"max_seconds = {max_seconds}, max_items = {max_items}",
            )
        if not (np.isfinite(self.durations).all() and (self.durations >= 0).all()):
            raise SettingsError("durations must be finite and not negative")
        self.max_seconds = max_seconds
        self.seed = seed
        self.shuffle = shuffle
        self.max_items = max_items or len(self.durations)

    def epoch(self, epoch: int) -> list[list[int]]:
        """Give the batches of an epoch as lists of indices; every index occurs exactly once."""
        if not self.shuffle:
            return self._cut(np.argsort(self.durations, kind="stable"))
        random = numpy_generator(self.seed, "batches", epoch)
        # Durations are blurred, so that the members of a batch change with the epoch.
        blurred = self.durations * np.exp(random.uniform(-_BLUR, _BLUR, len(self.durations)))
        batches = self._cut(np.argsort(blurred, kind="stable"))
        return [batches[index] for index in random.permutation(len(batches))]

    def _cut(self, order: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = 0.0
        for index in order.tolist():
            longest = max(longest, self.durations[index])
            full = batches and (
                len(batches[-1]) >= self.max_items
                or longest * (len(batches[-1]) + 1) > self.max_seconds
            )
            if not batches or full:
                batches.append([])
                longest = self.durations[index]
            batches[-1].append(index)
        return batches


def padding(
    batches: Iterable[Sequence[int]], durations: Sequence[float], costs: Sequence[float]
) -> float:
    """Give the share of batches that is padding.

    Args:
        batches: indices of utterances.
        durations: seconds of each utterance.
        costs: seconds that it counts for, where short ones are made longer.
    """
    total = heard = 0.0
    for batch in batches:
        total += len(batch) * max(costs[i] for i in batch)
        heard += sum(durations[i] for i in batch)
    return 1 - heard / total if total else 0.0


class BalancedBatches:
    """Draws utterances so that all classes are equally frequent, as many as there are, per epoch.

    Args:
        durations: seconds of each utterance.
        classes: class of each utterance.
        max_seconds, seed, max_items: as in `DurationBatches`.
    """

    def __init__(
        self,
        durations: Sequence[float],
        classes: Sequence[Hashable],
        max_seconds: float,
        seed: int,
        max_items: int | None = None,
    ) -> None:
        counts = Counter(classes)
        self._chances = np.array([1 / (len(counts) * counts[one]) for one in classes])
        self._durations, self._seed = np.asarray(durations), seed
        self._bounds = max_seconds, max_items

    def epoch(self, epoch: int) -> list[list[int]]:
        """Give the batches of an epoch as lists of indices; some twice, some not at all."""
        count = len(self._durations)
        random = numpy_generator(self._seed, "balanced", epoch)
        drawn = random.choice(count, count, p=self._chances)
        seconds, items = self._bounds
        order = DurationBatches(self._durations[drawn].tolist(), seconds, self._seed, True, items)
        return [[int(drawn[i]) for i in batch] for batch in order.epoch(epoch)]


class _Batches(Protocol):
    def epoch(self, epoch: int, /) -> list[list[int]]: ...


class VariedBatches:
    """Batches in which each utterance comes in one of its variants, drawn anew in every epoch.

    Args:
        durations: seconds of the first variant of all utterances, then of the second, and so on,
            which is also how indices count.
        variants: how many there are of each.
        order: makes the batches of utterances of some durations.
        seed: of the draws.
    """

    def __init__(
        self,
        durations: Sequence[float],
        variants: int,
        order: Callable[[Sequence[float]], _Batches],
        seed: int,
    ) -> None:
        self._durations = np.asarray(durations).reshape(variants, -1)
        self._order, self._seed = order, seed

    def epoch(self, epoch: int) -> list[list[int]]:
        """Give the batches of an epoch as lists of indices."""
        variants, count = self._durations.shape
        drawn = numpy_generator(self._seed, "variants", epoch).integers(variants, size=count)
        batches = self._order(self._durations[drawn, np.arange(count)].tolist()).epoch(epoch)
        return [[int(drawn[i]) * count + i for i in batch] for batch in batches]
