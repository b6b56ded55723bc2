"""Masked inputs: SpecAugment on what the front end gives, in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from speechft.training.pretrain.objective import sample_mask, sample_spans

_CHANNEL_SPANS: Final = 8
"""A span of masked channels is one part of so many of them: 64 of 512."""


@dataclass(frozen=True)
class InputMask:
    """Draws what is masked, from torch's global generator.

    Args:
        share: of the frames that masked spans would cover if none overlapped.
        span: frames in a span.
        channels: share of the front end's channels, likewise.

    Source: wav2vec 2.0 (Baevski et al. 2020), section 4.3: the mask embedding stands in for frames,
    zeros stand in for channels.
    """

    share: float
    span: int
    channels: float

    def __call__(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Give features (B, T, C), lengths (B,), and True (B, T) where a frame is masked."""
        if self.channels:
            rows, width = len(features), features.shape[2]
            size = max(1, width // _CHANNEL_SPANS)
            hidden = sample_spans([width] * rows, self.channels, size, torch.default_generator)
            features = features.masked_fill(hidden.to(features.device)[:, None], 0.0)
        return (
            features,
            lengths,
            sample_mask(lengths, self.share, self.span) if self.share else None,
        )
