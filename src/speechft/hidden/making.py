"""Computing what is missing in a folder and nothing else, together with other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from speechft.core.errors import DataError
from speechft.hidden.library import Encoded, frame_bytes, mean_bytes
from speechft.hidden.shards import Shard, ShardFolder, evict
from speechft.hidden.work import Work

SHARD_BYTES: Final = 256 << 20
SHARD_SECONDS: Final = 1800.0  # what a killed process loses at most
ATTEMPTS: Final = 10
_SHARDS_EACH: Final = 8
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Maker:
    """Makes the shards of one look.

    Attributes:
        work: the look.
    """

    work: Work

    def complete(
        self, folder: ShardFolder, needed: Collection[int]
    ) -> dict[str, tuple[Shard, int]]:
        """Make the shards that are missing, together with whoever else makes some."""
        keys = {self.work.library.keys[i] for i in needed}
        if not keys:
            return {}
        planned = self.plan(folder, self.work.library.batches(self.work.rules.batch_seconds))
        made = 0
        while made < ATTEMPTS:
            found = folder.find(keys)
            self._use({shard.place for shard, _ in found.values()})
            todo = [p for p in planned if self._missing(p, needed, found)]
            if not todo:
                return found
            progress = False
            for shard in _own_first(todo, self.work.rules.rank, self.work.rules.processes):
                progress |= self._make(folder, shard, needed, found)
            made += progress
            if not progress:
                time.sleep(_POLL_SECONDS)
        raise disappearing(folder.place)

    def _use(self, places: Collection[Path]) -> None:
        """Note that shards are in use: they are not removed now, and others are before them."""
        self.work.rules.used.update(places)
        for place in places:
            with suppress(FileNotFoundError):
                os.utime(place)

    def plan(
        self, folder: ShardFolder | None, batches: Sequence[list[int]]
    ) -> list[list[list[int]]]:
        """Group batches into shards, the same in every process whatever is there already."""
        dtype = None if folder is None else folder.dtype
        result: list[list[list[int]]] = []
        size = seconds = 0.0
        most = self._most_seconds(batches)
        for batch in batches:
            length = sum(self.work.library.source.durations[i] for i in batch)
            bytes_ = frame_bytes(self.work.encoder, length, dtype) if dtype else 0.0
            full = size + bytes_ > SHARD_BYTES or seconds + length > most
            if not result or full:
                result.append([])
                size = seconds = 0.0
            result[-1].append(batch)
            size, seconds = size + bytes_, seconds + length
        return result

    def _most_seconds(self, batches: Sequence[Sequence[int]]) -> float:
        """Give the audio of one shard: less where several processes should all have some."""
        if self.work.rules.processes == 1:
            return SHARD_SECONDS
        durations = self.work.library.source.durations
        total = sum(durations[i] for batch in batches for i in batch)
        return min(SHARD_SECONDS, total / (_SHARDS_EACH * self.work.rules.processes))

    def _missing(
        self, shard: list[list[int]], needed: Collection[int], found: Mapping[str, Any]
    ) -> list[int]:
        keys = self.work.library.keys
        return [i for batch in shard for i in batch if i in needed and keys[i] not in found]

    def _make(
        self,
        folder: ShardFolder,
        shard: list[list[int]],
        needed: Collection[int],
        found: Mapping[str, Any],
    ) -> bool:
        """Make one shard; give False where another process is at it."""
        keys = self.work.library.keys
        framed = folder.dtype is not None
        name = folder.name_of([keys[i] for batch in shard for i in batch])
        with folder.claim(name) as mine:
            if not mine:
                return False
            missing = self._missing(shard, needed, {**found, **folder.known()})
            if missing:
                batches = [batch for batch in shard if set(batch).intersection(missing)]
                parts = [self.work.encode(b, frames=framed) for b in self.work.coming(batches)]
                # Whatever else is wanted of these batches needs no further pass.
                framed_ = self.work.wanted(frames=True) | set(needed)
                own = framed_ if framed else self.work.wanted(frames=False)
                self._write_new(folder, parts, own)
                if framed:
                    others = self.work.wanted(frames=False) - framed_
                    self._write_new(ShardFolder(folder.place, None), parts, others)
        return True

    def _write_new(
        self, folder: ShardFolder, parts: Sequence[Encoded], items: Collection[int]
    ) -> None:
        """Write those of some utterances that are not there yet."""
        read = {i for part in parts for i in part.items}.intersection(items)
        known = folder.known() if read else {}
        new = {i for i in read if self.work.library.keys[i] not in known}
        if new:
            self.write(folder, parts, new)

    def write(
        self, folder: ShardFolder, parts: Sequence[Encoded], only: Collection[int] | None = None
    ) -> None:
        """Write some of what was read, or all, once there is room for it."""
        chosen = [
            (part, row)
            for part in parts
            for row, i in enumerate(part.items)
            if only is None or i in only
        ]
        rules = self.work.rules
        if rules.folder is not None:
            coming = mean_bytes(self.work.encoder, len(chosen))
            if folder.dtype is not None:
                coming += sum(part.frames_of(row).nbytes for part, row in chosen)
            evict(rules.folder, rules.limit_bytes - coming, rules.used)
        place = folder.write(
            [self.work.library.keys[part.items[row]] for part, row in chosen],
            torch.stack([part.means[:, row] for part, row in chosen], dim=1),
            [part.frames_of(row) for part, row in chosen] if folder.dtype is not None else [],
            [part.lengths[row] for part, row in chosen],
        )
        rules.used.add(place)


def _own_first(
    shards: list[list[list[int]]], rank: int, processes: int
) -> Iterator[list[list[int]]]:
    """Give this process' share, then everybody else's, in case that they are slower or gone."""
    for turn in range(processes):
        yield from shards[(rank + turn) % processes :: processes]


def disappearing(place: Path) -> DataError:
    """Say that what is written does not stay."""
    return DataError(
        "hidden states disappear, or are damaged, as soon as they are written",
        where=place,
        hint="check the disk, raise store_gb, or give each run a store of its own",
    )
