"""Computing hidden states: what is missing and nothing else, together with other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from speechft.core.errors import DataError
from speechft.encoders import SpeechEncoder
from speechft.stages.hidden_library import (
    DTYPES,
    Encoded,
    Library,
    Passes,
    Request,
    encode,
    frame_bytes,
    mean_bytes,
    room,
)
from speechft.stages.hidden_means import Means
from speechft.stages.hidden_shards import Shard, ShardFolder, evict
from speechft.stages.hidden_views import EncodedFrames, ShardedFrames, SplitStates
from speechft.training.probe_states import FrameStates

SHARD_BYTES: Final = 256 << 20
SHARD_SECONDS: Final = 1800.0  # what a killed process loses at most
LARGE_BYTES: Final = 1 << 30  # time means beyond this lie in a file, not in memory
_SHARDS_EACH: Final = 8
_ATTEMPTS: Final = 10
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Rules:
    """What a store was told.

    Attributes:
        dtype: of frames.
        limit_bytes: what the folder may hold.
        batch_seconds: seconds of audio per batch, padding included.
        folder: the store's; None keeps all in memory.
        rank: this process' number among those that share the work.
        processes: their count.
        used: shards in use, which stay whatever the limit says.
    """

    dtype: str
    limit_bytes: float
    batch_seconds: float
    folder: Path | None
    rank: int
    processes: int
    used: set[Path]


@dataclass(frozen=True)
class Work:
    """One look for the states of some splits.

    Attributes:
        rules: of the store.
        encoder: frozen, in evaluation mode.
        library: the utterances.
        requests: split → what it needs.
        passes: counts what the encoder reads.
        further: what other processes need of the same utterances, now or later; where an utterance
            is read, that is written too.
    """

    rules: Rules
    encoder: SpeechEncoder
    library: Library
    requests: dict[str, Request]
    passes: Passes
    further: tuple[Request, ...] = ()

    def items(self, *, frames: bool | None = None) -> set[int]:
        """Give the utterances of the requests with frames, without, or of all."""
        wanted = [r for r in self.requests.values() if frames is None or r.frames is frames]
        return {i for request in wanted for i in request.items}

    def wanted(self, *, frames: bool) -> set[int]:
        """Give the utterances that anybody needs, with frames or at all."""
        asked = [*self.requests.values(), *self.further]
        return {i for request in asked if request.frames or not frames for i in request.items}

    @property
    def shape(self) -> tuple[int, int]:
        """K and D."""
        return (self.encoder.num_layers + 1, self.encoder.hidden_size)

    def batches(self, needed: Collection[int]) -> list[list[int]]:
        """Give the batches that hold a needed utterance, whole."""
        batches = self.library.batches(self.rules.batch_seconds)
        return [batch for batch in batches if any(i in needed for i in batch)]

    def coming(self, batches: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Tell the source what will be read, and give it back."""
        self.library.source.expect([i for batch in batches for i in batch])
        return batches

    def encode(self, batch: Sequence[int], *, frames: bool) -> Encoded:
        """Encode a batch."""
        dtype = DTYPES[self.rules.dtype] if frames else None
        return encode(self.encoder, self.library.source, batch, dtype, self.passes)

    def in_memory(
        self, framed: Collection[int], written: ShardFolder | None = None
    ) -> dict[str, SplitStates]:
        """Keep everything in memory; time means are also written where a folder is given."""
        states, width = self.shape
        durations = self.library.source.durations
        starts: dict[int, int] = {}
        total = 0
        for i in sorted(framed):
            starts[i], total = total, total + room(self.encoder, durations[i])
        frames = torch.empty((states, total, width), dtype=DTYPES[self.rules.dtype])
        rows = Means(self.requests, self.shape)
        plan = self._plan(written, self.batches(self.items()))
        self.coming([batch for shard in plan for batch in shard])
        for shard in plan:
            parts = []
            for batch in shard:
                found = self.encode(batch, frames=any(i in framed for i in batch))
                rows.add(found)
                for row, i in enumerate(found.items):
                    if i in starts:
                        end = starts[i] + found.lengths[row]
                        frames[:, starts[i] : end] = found.frames_of(row)
                parts.append(replace(found, frames=None))
            if written is not None:
                self._write(written, parts)
        lengths = rows.lengths
        return {
            name: SplitStates(
                rows.pooled(name),
                FrameStates(frames, [starts[i] for i in r.items], [lengths[i] for i in r.items])
                if r.frames
                else None,
            )
            for name, r in self.requests.items()
        }

    def streamed(self, written: ShardFolder | None) -> dict[str, SplitStates]:
        """Give time means, and frames that are computed anew whenever they are read."""
        if written is None:
            rows = Means(self.requests, self.shape)
            for batch in self.coming(self.batches(self.items())):
                rows.add(self.encode(batch, frames=False))
        else:
            rows = self._read_means(written)
        return {
            name: SplitStates(
                rows.pooled(name),
                EncodedFrames(
                    self.encoder,
                    self.library.source,
                    r.items,
                    [rows.lengths[i] for i in r.items],
                    self.rules.dtype,
                    self.passes,
                    self.rules.batch_seconds,
                )
                if r.frames
                else None,
            )
            for name, r in self.requests.items()
        }

    def on_disk(self, place: Path) -> dict[str, SplitStates]:
        """Complete the shards of a folder and map them."""
        framed = self.items(frames=True)
        frame_shards = ShardFolder(place, self.rules.dtype)
        # Frames first: their shards hold time means as well, which the second look then finds.
        for _ in range(_ATTEMPTS):
            found = self._complete(frame_shards, framed)
            means = ShardFolder(place, None)
            # What has to be read anyway, and is needed with frames elsewhere, is read for both.
            there = means.find({self.library.keys[i] for i in self.items()})
            unread = {i for i in self.items() if self.library.keys[i] not in there}
            together = {i for batch in self.batches(unread) for i in batch}
            self._complete(frame_shards, together & self.wanted(frames=True))
            try:
                rows = self._read_means(means)
                frames = {name: self._map(r, found) for name, r in self.requests.items()}
            except FileNotFoundError:
                continue  # another process has just removed or replaced a shard
            return {n: SplitStates(rows.pooled(n), frames[n]) for n in self.requests}
        raise _disappearing(place)

    def _map(self, request: Request, found: Mapping[str, Any]) -> ShardedFrames | None:
        if not request.frames:
            return None
        rows = [found[self.library.keys[i]] for i in request.items]
        shards = {shard.place: shard for shard, _ in rows}
        order = {place: n for n, place in enumerate(shards)}
        return ShardedFrames(
            [shard.frames() for shard in shards.values()],
            [(order[shard.place], shard.starts[row]) for shard, row in rows],
            [shard.lengths[row] for shard, row in rows],
        )

    def _read_means(self, folder: ShardFolder) -> Means:
        found = self._complete(folder, self.items())
        large = mean_bytes(self.encoder, sum(len(r.items) for r in self.requests.values()))
        rows = Means(self.requests, self.shape, folder.place if large > LARGE_BYTES else None)
        by_shard: dict[Path, tuple[Shard, list[tuple[int, int]]]] = {}
        for i in self.items():
            shard, row = found[self.library.keys[i]]
            by_shard.setdefault(shard.place, (shard, []))[1].append((i, row))
        for shard, members in by_shard.values():
            means = shard.means()[:, [row for _, row in members]]
            lengths = [shard.lengths[row] for _, row in members]
            rows.add(Encoded([i for i, _ in members], lengths, means, None))
        return rows

    def _complete(
        self, folder: ShardFolder, needed: Collection[int]
    ) -> dict[str, tuple[Shard, int]]:
        """Make the shards that are missing, together with whoever else makes some."""
        keys = {self.library.keys[i] for i in needed}
        if not keys:
            return {}
        planned = self._plan(folder, self.library.batches(self.rules.batch_seconds))
        made = 0
        while made < _ATTEMPTS:
            found = folder.find(keys)
            self._use({shard.place for shard, _ in found.values()})
            todo = [p for p in planned if self._missing(p, needed, found)]
            if not todo:
                return found
            progress = False
            for shard in _own_first(todo, self.rules.rank, self.rules.processes):
                progress |= self._make(folder, shard, needed, found)
            made += progress
            if not progress:
                time.sleep(_POLL_SECONDS)
        raise _disappearing(folder.place)

    def _use(self, places: Collection[Path]) -> None:
        """Note that shards are in use: they are not removed now, and others are before them."""
        self.rules.used.update(places)
        for place in places:
            with suppress(FileNotFoundError):
                os.utime(place)

    def _plan(
        self, folder: ShardFolder | None, batches: Sequence[list[int]]
    ) -> list[list[list[int]]]:
        """Group batches into shards, the same in every process whatever is there already."""
        dtype = None if folder is None else folder.dtype
        result: list[list[list[int]]] = []
        size = seconds = 0.0
        most = self._most_seconds(batches)
        for batch in batches:
            length = sum(self.library.source.durations[i] for i in batch)
            bytes_ = frame_bytes(self.encoder, length, dtype) if dtype else 0.0
            full = size + bytes_ > SHARD_BYTES or seconds + length > most
            if not result or full:
                result.append([])
                size = seconds = 0.0
            result[-1].append(batch)
            size, seconds = size + bytes_, seconds + length
        return result

    def _most_seconds(self, batches: Sequence[Sequence[int]]) -> float:
        """Give the audio of one shard: less where several processes should all have some."""
        if self.rules.processes == 1:
            return SHARD_SECONDS
        durations = self.library.source.durations
        total = sum(durations[i] for batch in batches for i in batch)
        return min(SHARD_SECONDS, total / (_SHARDS_EACH * self.rules.processes))

    def _missing(
        self, shard: list[list[int]], needed: Collection[int], found: Mapping[str, Any]
    ) -> list[int]:
        keys = self.library.keys
        return [i for batch in shard for i in batch if i in needed and keys[i] not in found]

    def _make(
        self,
        folder: ShardFolder,
        shard: list[list[int]],
        needed: Collection[int],
        found: Mapping[str, Any],
    ) -> bool:
        """Make one shard; give False where another process is at it."""
        keys = self.library.keys
        framed = folder.dtype is not None
        name = folder.name_of([keys[i] for batch in shard for i in batch])
        with folder.claim(name) as mine:
            if not mine:
                return False
            missing = self._missing(shard, needed, {**found, **folder.known()})
            if missing:
                batches = [batch for batch in shard if set(batch).intersection(missing)]
                parts = [self.encode(b, frames=framed) for b in self.coming(batches)]
                # Whatever else is wanted of these batches needs no further pass.
                framed_ = self.wanted(frames=True) | set(needed)
                own = framed_ if framed else self.wanted(frames=False)
                self._write_new(folder, parts, own)
                if framed:
                    others = self.wanted(frames=False) - framed_
                    self._write_new(ShardFolder(folder.place, None), parts, others)
        return True

    def _write_new(
        self, folder: ShardFolder, parts: Sequence[Encoded], items: Collection[int]
    ) -> None:
        """Write those of some utterances that are not there yet."""
        read = {i for part in parts for i in part.items}.intersection(items)
        known = folder.known() if read else {}
        new = {i for i in read if self.library.keys[i] not in known}
        if new:
            self._write(folder, parts, new)

    def _write(
        self, folder: ShardFolder, parts: Sequence[Encoded], only: Collection[int] | None = None
    ) -> None:
        chosen = [
            (part, row)
            for part in parts
            for row, i in enumerate(part.items)
            if only is None or i in only
        ]
        if self.rules.folder is not None:
            coming = mean_bytes(self.encoder, len(chosen))
            if folder.dtype is not None:
                coming += sum(part.frames_of(row).nbytes for part, row in chosen)
            evict(self.rules.folder, self.rules.limit_bytes - coming, self.rules.used)
        place = folder.write(
            [self.library.keys[part.items[row]] for part, row in chosen],
            torch.stack([part.means[:, row] for part, row in chosen], dim=1),
            [part.frames_of(row) for part, row in chosen] if folder.dtype is not None else [],
            [part.lengths[row] for part, row in chosen],
        )
        self.rules.used.add(place)


def _own_first(
    shards: list[list[list[int]]], rank: int, processes: int
) -> Iterator[list[list[int]]]:
    """Give this process' share, then everybody else's, in case that they are slower or gone."""
    for turn in range(processes):
        yield from shards[(rank + turn) % processes :: processes]


def _disappearing(place: Path) -> DataError:
    return DataError(
        "hidden states disappear, or are damaged, as soon as they are written",
        where=place,
        hint="check the disk, raise store_gb, or give each run a store of its own",
    )
