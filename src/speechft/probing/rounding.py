"""S3PRL's lengths: how many frames of an utterance its probes see, padding included.

S3PRL takes round(samples / 320) frames of an utterance, which is the exact number or one more. In
a batch with a longer utterance the one more is a padding frame; the longest utterance has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from speechft.hidden.states import PooledStates, States

HOP = 320


def rounded(samples: int) -> int:
    """Give S3PRL's number of frames: the half goes to the even number."""
    return round(samples / HOP)


@dataclass(frozen=True)
class RoundedMeans:
    """Time means over S3PRL's frames.

    Attributes:
        states: exact means (K, N, D) and behind them the padding frame's state (K, N, D), as one
            (K, N, 2 D).
        wanted: frames of each utterance that S3PRL asks for.
        alone: every utterance is a batch of its own, which leaves the exact means.
    """

    states: PooledStates
    wanted: list[int]
    alone: bool = False

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.states.num_states

    @property
    def width(self) -> int:
        """Width D."""
        return self.states.width // 2

    @property
    def lengths(self) -> list[int]:
        """Exact frames of each utterance."""
        return self.states.lengths

    @property
    def on_cpu(self) -> bool:
        """Never: one vector per utterance is quickly there."""
        return False

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give (K, B, D) and None."""
        both, _ = self.states.batch(items)
        mean, padding = both.chunk(2, dim=-1)
        if self.alone:
            return mean.contiguous(), None
        exact = torch.tensor([self.lengths[i] for i in items], device=mean.device)
        wanted = torch.tensor([self.wanted[i] for i in items], device=mean.device)
        more = (wanted.clamp(max=int(exact.max())) > exact)[:, None]
        count = exact[:, None].to(mean.dtype)
        return torch.where(more, (mean * count + padding) / (count + 1), mean), None


@dataclass(frozen=True)
class RoundedFrames:
    """Frames as S3PRL's probes see them.

    Attributes:
        states: exact frames and one padding frame more of every utterance.
        wanted: frames of each utterance that S3PRL asks for.
        alone: every utterance is a batch of its own, which leaves no padding frame.
        repeat: where a frame is wanted that a batch does not have, give the last one again, as
            S3PRL's SD does to match its labels.
    """

    states: States
    wanted: list[int]
    alone: bool = False
    repeat: bool = False

    @property
    def num_states(self) -> int:
        """Number of hidden states K."""
        return self.states.num_states

    @property
    def width(self) -> int:
        """Width D."""
        return self.states.width

    @property
    def lengths(self) -> list[int]:
        """Exact frames of each utterance."""
        return [n - 1 for n in self.states.lengths]

    @property
    def on_cpu(self) -> bool:
        """As the exact frames."""
        return self.states.on_cpu

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        frames, _ = self.states.batch(items)
        exact = [self.states.lengths[i] - 1 for i in items]
        longest = max(exact)
        lengths = []
        for row, (i, own) in enumerate(zip(items, exact, strict=True)):
            most = own if self.alone else longest
            length = min(self.wanted[i], most)
            if self.repeat and length < self.wanted[i]:
                length = min(self.wanted[i], own + 1)
                frames[:, row, own:length] = frames[:, row, own - 1 : own]
            frames[:, row, length:] = 0
            lengths.append(length)
        return frames[:, :, : max(lengths)], torch.tensor(lengths, device=frames.device)
