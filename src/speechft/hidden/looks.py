"""The ways to give the states of a look: from memory, computed again when read, or from disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from speechft.hidden.library import DTYPES, Encoded, Request, mean_bytes, room
from speechft.hidden.making import ATTEMPTS, Maker, disappearing
from speechft.hidden.means import Means
from speechft.hidden.shards import Shard, ShardFolder
from speechft.hidden.states import FrameStates
from speechft.hidden.views import EncodedFrames, ShardedFrames, SplitStates
from speechft.hidden.work import Work

LARGE_BYTES: Final = 1 << 30  # time means beyond this lie in a file, not in memory


def in_memory(
    work: Work, framed: Collection[int], written: ShardFolder | None = None
) -> dict[str, SplitStates]:
    """Keep everything in memory; time means are also written where a folder is given."""
    maker = Maker(work)
    states, width = work.shape
    durations = work.library.source.durations
    starts: dict[int, int] = {}
    total = 0
    for i in sorted(framed):
        starts[i], total = total, total + room(work.encoder, durations[i])
    frames = torch.empty((states, total, width), dtype=DTYPES[work.rules.dtype])
    rows = Means(work.requests, work.shape)
    plan = maker.plan(written, work.batches(work.items()))
    work.coming([batch for shard in plan for batch in shard])
    for shard in plan:
        parts = []
        for batch in shard:
            found = work.encode(batch, frames=any(i in framed for i in batch))
            rows.add(found)
            for row, i in enumerate(found.items):
                if i in starts:
                    end = starts[i] + found.lengths[row]
                    frames[:, starts[i] : end] = found.frames_of(row)
            parts.append(replace(found, frames=None))
        if written is not None:
            maker.write(written, parts)
    lengths = rows.lengths
    return {
        name: SplitStates(
            rows.pooled(name),
            FrameStates(frames, [starts[i] for i in r.items], [lengths[i] for i in r.items])
            if r.frames
            else None,
        )
        for name, r in work.requests.items()
    }


def streamed(work: Work, written: ShardFolder | None) -> dict[str, SplitStates]:
    """Give time means, and frames that are computed anew whenever they are read."""
    if written is None:
        rows = Means(work.requests, work.shape)
        for batch in work.coming(work.batches(work.items())):
            rows.add(work.encode(batch, frames=False))
    else:
        rows = _read_means(work, written)
    return {
        name: SplitStates(
            rows.pooled(name),
            EncodedFrames(
                work.encoder,
                work.library.source,
                r.items,
                [rows.lengths[i] for i in r.items],
                work.rules.dtype,
                work.passes,
                work.rules.batch_seconds,
            )
            if r.frames
            else None,
        )
        for name, r in work.requests.items()
    }


def on_disk(work: Work, place: Path) -> dict[str, SplitStates]:
    """Complete the shards of a folder and map them."""
    maker = Maker(work)
    framed = work.items(frames=True)
    frame_shards = ShardFolder(place, work.rules.dtype)
    # Frames first: their shards hold time means as well, which the second look then finds.
    for _ in range(ATTEMPTS):
        found = maker.complete(frame_shards, framed)
        means = ShardFolder(place, None)
        # What has to be read anyway, and is needed with frames elsewhere, is read for both.
        there = means.find({work.library.keys[i] for i in work.items()})
        unread = {i for i in work.items() if work.library.keys[i] not in there}
        together = {i for batch in work.batches(unread) for i in batch}
        maker.complete(frame_shards, together & work.wanted(frames=True))
        try:
            rows = _read_means(work, means)
            frames = {name: _map(work, r, found) for name, r in work.requests.items()}
        except FileNotFoundError:
            continue  # another process has just removed or replaced a shard
        return {n: SplitStates(rows.pooled(n), frames[n]) for n in work.requests}
    raise disappearing(place)


def _map(
    work: Work, request: Request, found: Mapping[str, tuple[Shard, int]]
) -> ShardedFrames | None:
    if not request.frames:
        return None
    rows = [found[work.library.keys[i]] for i in request.items]
    shards = {shard.place: shard for shard, _ in rows}
    order = {place: n for n, place in enumerate(shards)}
    return ShardedFrames(
        [shard.frames() for shard in shards.values()],
        [(order[shard.place], shard.starts[row]) for shard, row in rows],
        [shard.lengths[row] for shard, row in rows],
    )


def _read_means(work: Work, folder: ShardFolder) -> Means:
    found = Maker(work).complete(folder, work.items())
    large = mean_bytes(work.encoder, sum(len(r.items) for r in work.requests.values()))
    rows = Means(work.requests, work.shape, folder.place if large > LARGE_BYTES else None)
    by_shard: dict[Path, tuple[Shard, list[tuple[int, int]]]] = {}
    for i in work.items():
        shard, row = found[work.library.keys[i]]
        by_shard.setdefault(shard.place, (shard, []))[1].append((i, row))
    for shard, members in by_shard.values():
        means = shard.means()[:, [row for _, row in members]]
        lengths = [shard.lengths[row] for _, row in members]
        rows.add(Encoded([i for i, _ in members], lengths, means, None))
    return rows
