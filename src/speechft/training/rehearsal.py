"""Rehearsal: some batches go on with masked prediction, so that the encoder keeps what it knew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder
from speechft.training.masked_prediction import (
    UnitPredictor,
    sample_spans,
    unit_loss,
    unit_targets,
)
from speechft.training.parts import Host


class Rehearsal:
    """A part of fine-tuning that predicts the units of masked frames, as in pre-training.

    Args:
        predictor: its head.
        units: unit sequence of each utterance, by index.
        share: expected share of masked frames before overlap (HuBERT's).
        span: frames in one masked span (HuBERT's).
    """

    def __init__(
        self,
        predictor: UnitPredictor,
        units: Sequence[NDArray[np.int16]],
        share: float = 0.8,
        span: int = 10,
    ) -> None:
        self.head = predictor
        self.units, self.count = units, len(units)
        self.share, self.span = share, span

    def loss(
        self, host: Host, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the cross entropy on masked frames; masks come from torch's global generator."""
        features, lengths = host.front_end(items)
        mask = sample_spans(lengths.tolist(), self.share, self.span, torch.default_generator)
        mask = mask.to(features.device)
        frames, lengths = host.behind(features, lengths, mask)
        targets = unit_targets(self.units, indices, frames.shape[1]).to(frames.device)
        loss, figures = unit_loss(self.head, frames, lengths, mask, targets, 0.0)
        return loss, {f"rehearsal_{name}": value for name, value in figures.items()}

    def evaluate(self, host: Host) -> dict[str, float]:
        """Give nothing: what is rehearsed has no dev split."""
        del host
        return {}


def check_maskable(encoder: SpeechEncoder) -> None:
    """Refuse an encoder that cannot be trained by masked prediction.

    Raises:
        SettingsError: it has no mask embedding.
    """
    if getattr(encoder.model, "masked_spec_embed", None) is None:
        raise SettingsError(
            "this encoder has no mask embedding, so masked prediction cannot be rehearsed",
            where=encoder.family,
            expected="a tensor named masked_spec_embed",
            hint="set rehearsal_share to 0, or start from an encoder with mask_time_prob above 0",
        )
