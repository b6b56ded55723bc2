"""Length and mask arithmetic: the only place where samples become frames and lengths become masks.

Masks follow one convention: **True where padded**.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from speechft.core.registry import deferred

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn.utils import rnn
else:
    torch, rnn = deferred("torch"), deferred("torch.nn.utils.rnn")


SAMPLE_RATE: Final = 16_000
"""Samples per second of all audio behind its reading."""
HOP: Final = 320
"""Samples per frame of most encoders, 50 frames per second; an encoder says its own (`hop`)."""


def conv_length(length: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Give the number of frames that a stack of unpadded convolutions makes of `length` samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        length = max(0, (length - kernel) // stride + 1)
    return length


def conv_lengths(lengths: Tensor, kernels: Sequence[int], strides: Sequence[int]) -> Tensor:
    """The same as `conv_length` for a tensor of lengths (B,)."""
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor").add(1).clamp(min=0)
    return lengths


def padding_mask(lengths: Tensor, max_length: int | None = None) -> Tensor:
    """Give a boolean mask (B, T), True where padded.

    Args:
        lengths: valid lengths (B,).
        max_length: T; the largest length if not given.
    """
    total = int(lengths.max()) if max_length is None else max_length
    return torch.arange(total, device=lengths.device)[None, :] >= lengths[:, None]


def reversal(lengths: Tensor, max_length: int) -> Tensor:
    """Give frame indices (B, T) that reverse each item within its length; padding stays in place.

    Applied twice they give the old order back.
    """
    frames = torch.arange(max_length, device=lengths.device)[None, :]
    mirrored = lengths[:, None] - 1 - frames
    return torch.where(mirrored >= 0, mirrored, frames)


def pad_waveforms(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack 1-D waveforms into a zero-padded batch (B, T) with their lengths (B,)."""
    lengths = torch.tensor([len(w) for w in waveforms], dtype=torch.long)
    return rnn.pad_sequence(list(waveforms), batch_first=True), lengths


def masked_mean(values: Tensor, lengths: Tensor) -> Tensor:
    """Give the mean of (B, T, D) over the valid frames of each item: (B, D), float32 or more."""
    keep = ~padding_mask(lengths, values.shape[1])
    wide = torch.promote_types(values.dtype, torch.float32)  # in bfloat16 257 frames would be 256
    total = (values * keep[..., None]).sum(dim=1, dtype=wide)
    return total / lengths.clamp(min=1)[:, None].to(wide)


def length_batches(lengths: Sequence[float], most: float) -> list[list[int]]:
    """Cut items, longest first, into batches of at most so much with padding, or of one item."""
    result: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if result and lengths[result[-1][0]] * (len(result[-1]) + 1) <= most:
            result[-1].append(i)
        else:
            result.append([i])
    return result
