"""What the objectives of pre-training share: masked frames, and figures on dev."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.training.freezing import FreezePlan
from speechft.training.objective import EncoderObjective

DevBatches = Callable[[], Sequence[tuple[list[int], list[Tensor]]]]
"""Gives the dev split: of each batch, indices and waveforms or features."""


class MaskedObjective(EncoderObjective, ABC):
    """An encoder and a head on it, trained on masked frames.

    Args:
        encoder: the encoder that is pre-trained, CNN front end included.
        head: what stands on it.
        name: of the head in the state.
        unmasked_weight: weight of the loss on unmasked frames.
        share, span: of masked frames, see `sample_spans`.
        dev: gives batches of (indices, items) to evaluate on.
        plan: which parameters move when; all of them, at every update, if there is none.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        head: nn.Module,
        name: str,
        *,
        unmasked_weight: float,
        share: float,
        span: int,
        dev: DevBatches = list,
        plan: FreezePlan | None = None,
    ) -> None:
        super().__init__(encoder, {name: head}, plan)
        self.unmasked_weight, self.share, self.span = unmasked_weight, share, span
        self.dev = dev

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give the mean figures on the dev split, the same masks every time."""
        self.module.eval()
        figures: list[dict[str, float]] = []
        for number, (indices, items) in enumerate(self.dev()):
            torch.manual_seed(number)
            figures.append(self.loss(indices, items)[1])
        return {k: float(np.mean([f[k] for f in figures])) for k in (figures[0] if figures else {})}


def sample_spans(
    lengths: Sequence[int], share: float, span: int, generator: torch.Generator
) -> Tensor:
    """Choose which frames to mask: spans that may overlap, at least one in every utterance.

    Args:
        lengths: valid frames of each item of the batch.
        share: expected share of frames that start a span, times `span` (0.8 in HuBERT).
        span: frames in one span.
        generator: source of chance.

    Returns:
        Boolean mask (B, T), True where masked, never in the padding.
    """
    mask = torch.zeros(len(lengths), max(lengths), dtype=torch.bool)
    for row, length in enumerate(lengths):
        chance = float(torch.rand((), generator=generator))
        count = max(1, int(share * length / span + chance))
        starts = torch.randperm(max(1, length - span), generator=generator)[:count]
        covered = starts[:, None] + torch.arange(span)[None, :]
        mask[row, covered.clamp(max=length - 1).flatten()] = True
    return mask


def sample_mask(lengths: Tensor, share: float, span: int) -> Tensor:
    """Choose frames (B, T) by torch's global generator, on the device of lengths (B,)."""
    mask = sample_spans(lengths.tolist(), share, span, torch.default_generator)
    return mask.to(lengths.device)
