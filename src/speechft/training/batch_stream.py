"""The order of batches as a pure function of (seed, position), so that resuming needs no replay."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

from speechft.core.devices import compute_alone
from speechft.core.stopping import threads


class EpochBatches(Protocol):
    """Gives the batches of an epoch as lists of item indices; the same call gives the same list."""

    def epoch(self, number: int) -> list[list[int]]:
        """Give the batches of epoch `number`, counted from 0."""
        ...


@dataclass
class Position:
    """Where a run stands in its data: the epoch and the next batch in it."""

    epoch: int = 0
    batch: int = 0


class ItemSource(Protocol):
    """Loads items by index; called from a helper thread, ahead of need."""

    def load(self, indices: Sequence[int]) -> Any:
        """Give what the objective needs of these items."""
        ...


@runtime_checkable
class ChangingSource(ItemSource, Protocol):
    """Loads items that are other ones at each place of a run."""

    def load_at(self, indices: Sequence[int], place: Position) -> Any:
        """Give what the objective needs of these items, in the batch at a place."""
        ...


class BatchStream:
    """Endless batches from a position on, the next one loaded in a thread while one is in use.

    Args:
        batches: the batches of each epoch.
        source: loads the items of a batch.
        position: where to start; `position` of the stream is where the *next* batch comes from.
        rank: index of this process among `world`.
        world: number of processes; each takes every `world`-th batch of the endless row, so that
            all of them together take what one alone would.

    Attributes:
        waited: seconds in which a batch was asked for that was not loaded yet.
    """

    def __init__(
        self,
        batches: EpochBatches,
        source: ItemSource,
        position: Position | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.position = position or Position()
        self._batches = batches
        self.source = source
        self._rank, self._world = rank, world
        self.waited = 0.0

    def __iter__(self) -> Iterator[tuple[list[int], Any]]:
        """Yield (indices, loaded items); `position` is moved on before each is handed out."""
        with threads(1, first=compute_alone) as pool:
            following = self._walk()
            indices, own, after = next(following)
            pending: Future[Any] = pool.submit(self._load, indices, own)
            while True:
                begun = time.perf_counter()
                items, current, position = pending.result(), indices, after
                self.waited += time.perf_counter() - begun
                indices, own, after = next(following)
                pending = pool.submit(self._load, indices, own)
                self.position = position
                yield current, items

    def _load(self, indices: Sequence[int], place: Position) -> Any:
        if isinstance(self.source, ChangingSource):
            return self.source.load_at(indices, place)
        return self.source.load(indices)

    def _walk(self) -> Iterator[tuple[list[int], Position, Position]]:
        """Give the batches of this process, each with its place and the position after all."""
        row = self._row()
        while True:
            group = list(islice(row, self._world))
            yield *group[self._rank], group[-1][1]

    def _row(self) -> Iterator[tuple[list[int], Position]]:
        """Give the batches of all processes, each with the position after it."""
        epoch, start = self.position.epoch, self.position.batch
        while True:
            for number, batch in enumerate(self._batches.epoch(epoch)[start:], start):
                yield batch, Position(epoch, number + 1)
            epoch, start = epoch + 1, 0
