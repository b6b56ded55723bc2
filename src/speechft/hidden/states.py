"""Hidden states of one split as a probe reads them: per-utterance time means, or frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from speechft.hidden.encoding import Reader


class States(Protocol):
    """Hidden states of utterances 0..N-1 of one split."""

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""

    @property
    def width(self) -> int:
        """Width D."""

    @property
    def lengths(self) -> list[int]:
        """Valid frames of each utterance."""

    @property
    def on_cpu(self) -> bool:
        """Whether a batch is put together in the memory of the CPU from frames that lie ready."""

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give states of some utterances, and their lengths where there are frames.

        They are zero where padded, and of the type that they are kept in.
        """


@dataclass(frozen=True)
class PooledStates:
    """One vector per utterance and hidden state: the exact mean over the valid frames.

    Attributes:
        means: (K, N, D), float32.
        lengths: valid frames of each utterance, for reference.
    """

    means: Tensor
    lengths: list[int]

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.means.shape[0]

    @property
    def width(self) -> int:
        """Width D."""
        return self.means.shape[2]

    @property
    def on_cpu(self) -> bool:
        """Never: one vector per utterance is quickly there."""
        return False

    def to(self, device: torch.device | str) -> PooledStates:
        """Give the same on a device."""
        return PooledStates(self.means.to(device), self.lengths)

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give (K, B, D) and None."""
        index = torch.tensor(list(items), device=self.means.device)
        return self.means.index_select(1, index), None


class FrameStates:
    """Every frame of every utterance, in memory or mapped from the disk.

    Args:
        frames: (K, T, D) of each utterance, float16 or float32.
    """

    def __init__(self, frames: Sequence[Tensor]) -> None:
        self.frames = list(frames)
        self.lengths = [own.shape[1] for own in self.frames]

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.frames[0].shape[0]

    @property
    def width(self) -> int:
        """Width D."""
        return self.frames[0].shape[2]

    @property
    def on_cpu(self) -> bool:
        """Whether they are on the CPU."""
        return self.frames[0].device.type == "cpu"

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        return side_by_side([self.frames[i] for i in items])


@dataclass(frozen=True)
class EncodedFrames:
    """Frames that nobody keeps: the encoder reads the utterances anew for every batch.

    Attributes:
        reader: encodes them, in batches of its own size, whatever a probe's batch holds.
        items: the split's utterances, as indices into the reader's source.
        lengths: frames of each utterance.
    """

    reader: Reader
    items: list[int]
    lengths: list[int]

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.reader.encoder.num_layers + 1

    @property
    def width(self) -> int:
        """Width D."""
        return self.reader.encoder.hidden_size

    @property
    def on_cpu(self) -> bool:
        """Never: the encoder computes them, and threads shall not share it."""
        return False

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), as if they had been kept, and lengths (B,)."""
        own = [self.items[i] for i in items]
        found = dict(self.reader.read(list(dict.fromkeys(own)), set(own)))
        return side_by_side([frames for i in own if (frames := found[i].frames) is not None])


@dataclass(frozen=True)
class SplitStates:
    """The hidden states of one split.

    Attributes:
        pooled: time means, always.
        frames: all frames, or None where nobody asked for them.
    """

    pooled: PooledStates
    frames: States | None


def side_by_side(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put (K, T, D) of each utterance into zero-padded (K, B, T, D); give that and lengths (B,)."""
    first, lengths = frames[0], [own.shape[1] for own in frames]
    batch = first.new_empty((first.shape[0], len(frames), max(lengths), first.shape[2]))
    for row, (own, length) in enumerate(zip(frames, lengths, strict=True)):
        batch[:, row, :length] = own
        batch[:, row, length:] = 0
    return batch, torch.tensor(lengths, device=first.device)
