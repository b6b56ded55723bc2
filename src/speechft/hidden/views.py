"""Hidden states as a probe reads them, where they do not lie in one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechft.encoders import SpeechEncoder
from speechft.hidden.library import (
    DTYPES,
    FrontEndSource,
    Passes,
    encode,
    length_batches,
)
from speechft.hidden.states import PooledStates, States


@dataclass(frozen=True)
class SplitStates:
    """The hidden states of one split.

    Attributes:
        pooled: time means, always.
        frames: all frames, or None where nobody asked for them.
    """

    pooled: PooledStates
    frames: States | None


@dataclass(frozen=True)
class ShardedFrames:
    """Every frame of every utterance, in memory-mapped shards.

    Attributes:
        shards: each (K, F, D), float16 or float32.
        places: shard and first frame of each utterance.
        lengths: frames of each utterance.
    """

    shards: list[Tensor]
    places: list[tuple[int, int]]
    lengths: list[int]

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.shards[0].shape[0]

    @property
    def width(self) -> int:
        """Width D."""
        return self.shards[0].shape[2]

    def frames_of(self, item: int) -> Tensor:
        """Give the frames (K, T, D) of one utterance, in the type they are kept in."""
        shard, start = self.places[item]
        return self.shards[shard][:, start : start + self.lengths[item]]

    @property
    def kept_apart(self) -> bool:
        """Always: they are on the disk."""
        return True

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        lengths = [self.lengths[i] for i in items]
        shape = (self.num_states, len(items), max(lengths), self.width)
        batch = torch.empty(shape, dtype=self.shards[0].dtype)
        for row, (i, length) in enumerate(zip(items, lengths, strict=True)):
            batch[:, row, :length] = self.frames_of(i)
            batch[:, row, length:] = 0
        return batch, torch.tensor(lengths)


@dataclass(frozen=True)
class EncodedFrames:
    """Frames that nobody keeps: the encoder reads the utterances anew for every batch.

    Attributes:
        encoder: frozen, in evaluation mode.
        source: front-end features by index.
        items: the split's utterances, as indices into the source.
        lengths: frames of each utterance.
        dtype: "float16" or "float32", as frames would be kept.
        passes: counts.
        seconds: of audio that the encoder reads at a time, whatever a probe's batch holds.
    """

    encoder: SpeechEncoder
    source: FrontEndSource
    items: list[int]
    lengths: list[int]
    dtype: str
    passes: Passes
    seconds: float = 60.0

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.encoder.num_layers + 1

    @property
    def width(self) -> int:
        """Width D."""
        return self.encoder.hidden_size

    @property
    def kept_apart(self) -> bool:
        """Never: the encoder computes them, and threads shall not share it."""
        return False

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), as if they had been kept, and lengths (B,)."""
        lengths = [self.lengths[i] for i in items]
        shape = (self.num_states, len(items), max(lengths), self.width)
        frames = torch.zeros(shape, dtype=DTYPES[self.dtype])
        durations = [self.source.durations[self.items[i]] for i in items]
        for rows in length_batches(durations, self.seconds):
            own = [self.items[items[row]] for row in rows]
            found = encode(self.encoder, self.source, own, DTYPES[self.dtype], self.passes)
            for place, row in enumerate(rows):
                frames[:, row, : found.lengths[place]] = found.frames_of(place)
        return frames, torch.tensor(lengths)
