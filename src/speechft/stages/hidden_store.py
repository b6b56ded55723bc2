"""Hidden states computed once per utterance and encoder: time means, and frames where needed."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from speechft.core.errors import DataError, SettingsError
from speechft.core.logging import get_logger
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
from speechft.stages.hidden_shards import Shard, ShardFolder, evict, group_name
from speechft.stages.hidden_views import EncodedFrames, ShardedFrames, SplitStates
from speechft.training.probe_states import FrameStates, PooledStates

__all__ = ["HiddenStore", "SplitStates"]

VERSION: Final = 2  # raise it when the content of stored states changes
SHARD_BYTES: Final = 256 << 20
SHARD_SECONDS: Final = 1800.0  # what a killed process loses at most
LARGE_BYTES: Final = 1 << 30  # time means beyond this lie in a file, not in memory
_POLL_SECONDS: Final = 0.2
_GIB: Final = 2**30
_logger = get_logger(__name__)


@dataclass(frozen=True)
class HiddenStore:
    """Where hidden states are kept.

    Args:
        dtype: "float16" or "float32", for frames; means are float32.
        limit_gb: largest size of one encoder's states in memory, or of the folder.
        batch_seconds: seconds of audio per batch, padding included.
        folder: for memory-mapped shards, which later runs find again; None keeps all in memory.
        keep: "frames" keeps time means and frames; "pooled" writes time means alone, and "none"
            nothing. Frames that are not kept lie in memory if they fit the limit; else the encoder
            reads the utterances anew for every batch.
        rank: this process' number among those that encode the same data into one folder.
        processes: their count.
    """

    dtype: str = "float32"
    limit_gb: float = 4.0
    batch_seconds: float = 60.0
    folder: Path | None = None
    keep: Literal["pooled", "frames", "none"] = "frames"
    rank: int = 0
    processes: int = 1
    _used: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def _writes_frames(self) -> bool:
        return self.folder is not None and self.keep == "frames"

    def check_size(self, encoder: SpeechEncoder, utterances: int, seconds: float) -> None:
        """Say how much room the states need; refuse to start what will not fit.

        Args:
            encoder: the encoder.
            utterances: number of utterances.
            seconds: length of all audio whose frames are needed.

        Raises:
            SettingsError: says how much is needed and what would help.
        """
        means = mean_bytes(encoder, utterances) / _GIB
        frames = frame_bytes(encoder, seconds, self.dtype) / _GIB
        where = self.folder if self.folder is not None and self.keep != "none" else "memory"
        text = f"{means:.2f} GiB of time means of {utterances} utterances"
        if frames:
            text += f", {frames:.2f} GiB of frames ({self.dtype}) of {seconds / 3600:.1f} h"
        _logger.info("hidden states: at most %s in %s", text, where)
        need = means + frames
        if self.keep == "frames" and need > self.limit_gb:
            raise self._too_large(need, "store_gb", f"at most {self.limit_gb:g} GiB", text)
        if self.folder is not None and self.keep != "none":
            written = need if self.keep == "frames" else means
            self._check_disk(self.folder, written, text)

    def _check_disk(self, folder: Path, need: float, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / _GIB
        there = sum(f.stat().st_size for f in folder.rglob("*.bin")) / _GIB
        if need > free + there:
            raise self._too_large(need, str(folder), f"at most {free:.1f} GiB, which is free", text)

    def _too_large(self, need: float, where: str, expected: str, text: str) -> SettingsError:
        helps = ["raise store_gb"] if where == "store_gb" else ["choose a larger disk"]
        helps += ["keep half precision (frame_dtype: float16)"] * (self.dtype == "float32")
        helps += ["keep them on disk (store: FOLDER)"] * (self.folder is None)
        helps += ["encode anew for every batch, slowly (keep: pooled)"]
        return SettingsError(
            "the hidden states do not fit the limit",
            where=where,
            expected=expected,
            found=f"{need:.1f} GiB: {text}",
            hint="; ".join(helps),
        )

    def open(
        self,
        encoder: SpeechEncoder,
        library: Library,
        requests: Mapping[str, Request],
        encoder_hash: str,
        passes: Passes | None = None,
    ) -> dict[str, SplitStates]:
        """Give the hidden states of splits, computed now or found in the folder.

        Args:
            encoder: frozen, in evaluation mode.
            library: the utterances.
            requests: split → what it needs.
            encoder_hash: the encoder's fingerprint.
            passes: counts what the encoder reads.

        Raises:
            DataError: an utterance is longer than its cut says.
        """
        work = _Work(self, encoder, library, dict(requests), encoder_hash, passes or Passes())
        framed = work.items(frames=True)
        if self.folder is None or self.keep == "none":
            return work.in_memory(framed) if self._fits(work, framed) else work.streamed(None)
        place = self.folder / group_name(VERSION, encoder_hash, _about(encoder))
        if framed and not self._writes_frames:
            if not self._fits(work, framed):
                return work.streamed(ShardFolder(place, None))
            return work.in_memory(framed, ShardFolder(place, None))
        return work.on_disk(place)

    def _fits(self, work: _Work, framed: Collection[int]) -> bool:
        seconds = sum(work.library.source.durations[i] for i in framed)
        fits = frame_bytes(work.encoder, seconds, self.dtype) <= self.limit_gb * _GIB
        if not fits:
            _logger.warning(
                "hidden states: %.1f h of frames do not fit store_gb and are not kept; the "
                "encoder reads every utterance anew each time a probe does, which is slow",
                seconds / 3600,
            )
        return fits


@dataclass(frozen=True)
class _Work:
    """One call of `HiddenStore.open`."""

    store: HiddenStore
    encoder: SpeechEncoder
    library: Library
    requests: dict[str, Request]
    encoder_hash: str
    passes: Passes

    def items(self, *, frames: bool | None = None) -> set[int]:
        """Give the utterances of the requests with frames, without, or of all."""
        wanted = [r for r in self.requests.values() if frames is None or r.frames is frames]
        return {i for request in wanted for i in request.items}

    @property
    def shape(self) -> tuple[int, int]:
        """K and D."""
        return (self.encoder.num_layers + 1, self.encoder.hidden_size)

    def batches(self, needed: Collection[int]) -> list[list[int]]:
        """Give the batches that hold a needed utterance, whole."""
        batches = self.library.batches(self.store.batch_seconds)
        return [batch for batch in batches if any(i in needed for i in batch)]

    def coming(self, batches: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Tell the source what will be read, and give it back."""
        self.library.source.expect([i for batch in batches for i in batch])
        return batches

    def encode(self, batch: Sequence[int], *, frames: bool) -> Encoded:
        """Encode a batch."""
        dtype = DTYPES[self.store.dtype] if frames else None
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
        frames = torch.empty((states, total, width), dtype=DTYPES[self.store.dtype])
        rows = _Means(self, {}, None)
        plan = self._plan(written, self.items())
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
            rows = _Means(self, {}, None)
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
                    self.store.dtype,
                    self.passes,
                )
                if r.frames
                else None,
            )
            for name, r in self.requests.items()
        }

    def on_disk(self, place: Path) -> dict[str, SplitStates]:
        """Complete the shards of a folder and map them."""
        framed = self.items(frames=True)
        frame_shards = ShardFolder(place, self.store.dtype)
        # Frames first: their shards hold time means as well, which the second look then finds.
        for _ in range(10):
            found = self._complete(frame_shards, framed)
            try:
                rows = self._read_means(ShardFolder(place, None))
                frames = {name: self._map(r, found) for name, r in self.requests.items()}
            except FileNotFoundError:
                continue  # another process has just removed or replaced a shard
            return {n: SplitStates(rows.pooled(n), frames[n]) for n in self.requests}
        raise DataError(
            "hidden states disappear while they are read",
            where=place,
            hint="raise store_gb, or give each run a store of its own",
        )

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

    def _read_means(self, folder: ShardFolder) -> _Means:
        found = self._complete(folder, self.items())
        large = mean_bytes(self.encoder, sum(len(r.items) for r in self.requests.values()))
        rows = _Means(self, {}, folder.place if large > LARGE_BYTES else None)
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
        planned = self._plan(folder, needed)
        while True:
            found = folder.find(keys)
            self._use({shard.place for shard, _ in found.values()})
            todo = [p for p in planned if self._missing(p, needed, found)]
            if not todo:
                break
            progress = False
            for shard in _own_first(todo, self.store.rank, self.store.processes):
                progress |= self._make(folder, shard, needed, found)
            if not progress:
                time.sleep(_POLL_SECONDS)
        return found

    def _use(self, places: Collection[Path]) -> None:
        """Note that shards are in use: they are not removed now, and others are before them."""
        self.store._used.update(places)
        for place in places:
            with suppress(FileNotFoundError):
                os.utime(place)

    def _plan(self, folder: ShardFolder | None, needed: Collection[int]) -> list[list[list[int]]]:
        """Group the batches into shards, the same in every process whatever is there already."""
        dtype = None if folder is None else folder.dtype
        result: list[list[list[int]]] = []
        size = seconds = 0.0
        for batch in self.batches(needed):
            length = sum(self.library.source.durations[i] for i in batch)
            bytes_ = frame_bytes(self.encoder, length, dtype) if dtype else 0.0
            full = size + bytes_ > SHARD_BYTES or seconds + length > SHARD_SECONDS
            if not result or full:
                result.append([])
                size = seconds = 0.0
            result[-1].append(batch)
            size, seconds = size + bytes_, seconds + length
        return result

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
        missing = set(self._missing(shard, needed, found))
        name = folder.name_of([keys[i] for batch in shard for i in batch])
        with folder.claim(name) as mine:
            if not mine:
                return False
            ordered = [i for batch in shard for i in batch if i in missing]
            if not folder.has(folder.name_of([keys[i] for i in ordered])):
                parts = [
                    self.encode(batch, frames=folder.dtype is not None)
                    for batch in self.coming([b for b in shard if missing.intersection(b)])
                ]
                self._write(folder, parts, missing)
                # Others of these batches may be wanted as time means; they need no further pass.
                others = self.items() - set(needed)
                if others.intersection(i for part in parts for i in part.items):
                    self._write(ShardFolder(folder.place, None), parts, others)
        return True

    def _write(
        self, folder: ShardFolder, parts: Sequence[Encoded], only: Collection[int] | None = None
    ) -> None:
        chosen = [
            (part, row)
            for part in parts
            for row, i in enumerate(part.items)
            if only is None or i in only
        ]
        if self.store.folder is not None:
            coming = mean_bytes(self.encoder, len(chosen))
            if folder.dtype is not None:
                coming += sum(part.frames_of(row).nbytes for part, row in chosen)
            evict(self.store.folder, self.store.limit_gb * _GIB - coming, self.store._used)
        place = folder.write(
            [self.library.keys[part.items[row]] for part, row in chosen],
            torch.stack([part.means[:, row] for part, row in chosen], dim=1),
            [part.frames_of(row) for part, row in chosen] if folder.dtype is not None else [],
            [part.lengths[row] for part, row in chosen],
        )
        self.store._used.add(place)


@dataclass
class _Means:
    """Collects the time means of every request."""

    work: _Work
    lengths: dict[int, int]
    folder: Path | None
    _tensors: dict[str, Tensor] = field(default_factory=dict, init=False)
    _rows: dict[int, list[tuple[str, int]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        states, width = self.work.shape
        for name, request in self.work.requests.items():
            self._tensors[name] = _room((states, len(request.items), width), self.folder)
            for row, i in enumerate(request.items):
                self._rows.setdefault(i, []).append((name, row))

    def add(self, found: Encoded) -> None:
        """Take what is wanted of a batch."""
        for column, i in enumerate(found.items):
            self.lengths[i] = found.lengths[column]
            for name, row in self._rows.get(i, ()):
                self._tensors[name][:, row] = found.means[:, column]

    def pooled(self, name: str) -> PooledStates:
        """Give the time means of a split."""
        items = self.work.requests[name].items
        return PooledStates(self._tensors[name], [self.lengths[i] for i in items])


def _room(shape: tuple[int, int, int], folder: Path | None) -> Tensor:
    """Give an empty tensor, in a nameless file of a folder where one is given."""
    if folder is None or 0 in shape:
        return torch.empty(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _own_first(
    shards: list[list[list[int]]], rank: int, processes: int
) -> Iterator[list[list[int]]]:
    """Give this process' share, then everybody else's, in case that they are slower or gone."""
    for turn in range(processes):
        yield from shards[(rank + turn) % processes :: processes]


def _about(encoder: SpeechEncoder) -> dict[str, Any]:
    """Give what the states depend on besides the weights."""
    config = {k: v for k, v in encoder.config.to_dict().items() if k not in _NOT_COMPUTING}
    return {"family": encoder.family, "preprocessor": encoder.preprocessor, "config": config}


_NOT_COMPUTING: Final = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
)
