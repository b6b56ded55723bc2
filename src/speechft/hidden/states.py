"""Hidden states of one split as a probe reads them: per-utterance time means, or frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


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
    def kept_apart(self) -> bool:
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
    def kept_apart(self) -> bool:
        """Never: one vector per utterance is quickly there."""
        return False

    def to(self, device: torch.device | str) -> PooledStates:
        """Give the same on a device."""
        return PooledStates(self.means.to(device), self.lengths)

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give (K, B, D) and None."""
        index = torch.tensor(list(items), device=self.means.device)
        return self.means.index_select(1, index), None


@dataclass(frozen=True)
class FrameStates:
    """Every frame of every utterance.

    Attributes:
        frames: (K, F, D), float16 or float32, the utterances one after the other.
        starts: first frame of each utterance.
        lengths: frames of each utterance.
    """

    frames: Tensor
    starts: list[int]
    lengths: list[int]

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.frames.shape[0]

    @property
    def width(self) -> int:
        """Width D."""
        return self.frames.shape[2]

    def frames_of(self, item: int) -> Tensor:
        """Give the frames (K, T, D) of one utterance, in the type they are kept in."""
        start = self.starts[item]
        return self.frames[:, start : start + self.lengths[item]]

    @property
    def kept_apart(self) -> bool:
        """Whether they are on the CPU."""
        return self.frames.device.type == "cpu"

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        lengths = [self.lengths[i] for i in items]
        shape = (self.num_states, len(items), max(lengths), self.width)
        batch = torch.empty(shape, dtype=self.frames.dtype, device=self.frames.device)
        for row, (i, length) in enumerate(zip(items, lengths, strict=True)):
            start = self.starts[i]
            batch[:, row, :length] = self.frames[:, start : start + length]
            batch[:, row, length:] = 0
        return batch, torch.tensor(lengths, device=self.frames.device)
