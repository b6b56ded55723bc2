"""Whose batch comes next, where several parts train together: a pure function of the epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from speechft.core.errors import SettingsError
from speechft.training.batch_stream import EpochBatches

SHORTEST: Final = (
    200  # batches of a task in one epoch, so that a share is met within half a percent
)
_OWN_EPOCHS: Final = 1_000_000  # that a part may use in one epoch of all


@dataclass(frozen=True)
class Turn:
    """The batches of one part.

    Attributes:
        batches: its own epochs, indices counted from its first utterance.
        first: what is added to an index to tell the part from the others.
    """

    batches: EpochBatches
    first: int


class TakingTurns:
    """The batches of several tasks in turn, and now and then one that rehearses.

    Tasks take turns batch by batch, so that each has the same number of batches (give or take one)
    wherever one looks; whoever has fewer utterances sees them more often. Rehearsing batches are
    spread evenly. There is no hidden state, so a run can go on at any batch of any epoch.

    Args:
        tasks: the tasks, in their order.
        rehearsal: what is rehearsed, if anything.
        share: of all batches that rehearse, at least 0 and below 1.

    Raises:
        SettingsError: the share makes no sense, or there is no task.
    """

    def __init__(
        self,
        tasks: Sequence[Turn],
        rehearsal: Turn | None = None,
        share: float = 0.0,
    ) -> None:
        if not tasks or not 0 <= share < 1:
            raise SettingsError(
                "batches cannot be shared out so",
                expected="at least one task, and a share of at least 0 and below 1",
                found=f"{len(tasks)} tasks, share {share}",
            )
        self.tasks, self.rehearsal = list(tasks), rehearsal
        self.share = share if rehearsal is not None else 0.0

    def epoch(self, number: int) -> list[list[int]]:
        """Give the batches of an epoch, which holds whole epochs of the longest task."""
        everyone = [*self.tasks, *([self.rehearsal] if self.rehearsal else [])]
        rows = [_batches(turn, number) for turn in everyone]
        return [next(rows[kind]) for kind in self._kinds(self._length(number) * len(self.tasks))]

    def _kinds(self, turns: int) -> list[int]:
        """Give whose turn it is, until the tasks have had so many; rehearsal is the last number."""
        kinds: list[int] = []
        done = 0
        while done < turns:
            place = len(kinds)
            if _whole(self.share * (place + 1)) > _whole(self.share * place):
                kinds.append(len(self.tasks))
            else:
                kinds.append(done % len(self.tasks))
                done += 1
        return kinds

    def _length(self, number: int) -> int:
        """Give the batches of the longest task in as many of its epochs as make one of all."""
        longest = max(self.tasks, key=lambda turn: len(turn.batches.epoch(number * _OWN_EPOCHS)))
        total = 0
        for part in count(number * _OWN_EPOCHS):
            total += len(longest.batches.epoch(part))
            if total >= SHORTEST:
                break
        return total


def _batches(turn: Turn, number: int) -> Iterator[list[int]]:
    """Give the batches of a part in an epoch of all, epoch after epoch of its own."""
    for part in count(number * _OWN_EPOCHS):
        for batch in turn.batches.epoch(part):
            yield [turn.first + i for i in batch]


def _whole(value: float) -> int:
    return math.floor(value + 1e-9)
