"""Rehearsal: some batches go on with masked prediction, so that the encoder keeps what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from speechft.core.errors import SettingsError
from speechft.core.seeding import seeded
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end import Waveforms
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.parts import Host
from speechft.training.freezing import FreezePlan
from speechft.training.pretrain.masked_prediction import (
    UnitPredictor,
    sample_spans,
    unit_loss,
    unit_targets,
)
from speechft.training.stream import EpochBatches


class Rehearsal:
    """A part of fine-tuning that predicts the units of masked frames, as in pre-training.

    Args:
        predictor: its head.
        units: unit sequence of each utterance, by index.
        share: expected share of masked frames before overlap (HuBERT's).
        span: frames in one masked span (HuBERT's).
        unmasked_weight: weight of the loss on frames that are not masked (0 in HuBERT).
    """

    def __init__(
        self,
        predictor: UnitPredictor,
        units: Sequence[NDArray[np.int32]],
        share: float = 0.8,
        span: int = 10,
        unmasked_weight: float = 0.0,
    ) -> None:
        self.head = predictor
        self.units, self.count = units, len(units)
        self.share, self.span, self.unmasked_weight = share, span, unmasked_weight

    def loss(
        self, host: Host, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the cross entropy on masked frames; masks come from torch's global generator."""
        features, lengths = host.front_end(items)
        mask = sample_spans(lengths.tolist(), self.share, self.span, torch.default_generator)
        mask = mask.to(features.device)
        frames, lengths = host.behind(features, lengths, mask)
        targets = unit_targets(self.units, indices, frames.shape[1]).to(frames.device)
        loss, figures = unit_loss(self.head, frames, lengths, mask, targets, self.unmasked_weight)
        return loss, {f"rehearsal_{name}": value for name, value in figures.items()}

    def evaluate(self, host: Host) -> dict[str, float]:
        """Give nothing: what is rehearsed has no dev split."""
        del host
        return {}


def warm_up(
    rehearsal: Rehearsal,
    encoder: SpeechEncoder,
    source: Waveforms,
    batches: EpochBatches,
    updates: int,
    seed: int,
    rate: float = 1e-3,
) -> dict[str, float]:
    """Train the predictor alone behind an encoder that stays as it is (AdamW, constant rate).

    A fresh predictor would pull the encoder towards where chance has put its embeddings.

    Args:
        rehearsal: its head is trained and left on the CPU.
        encoder: it is left in its mode, its parameters without gradients.
        source: waveforms of what is rehearsed.
        batches: of their indices.
        updates: one batch each.
        seed: of the masks; the global generators are left as they were.
        rate: learning rate.

    Returns:
        The figures of the last batch.
    """
    head, figures = rehearsal.head, dict[str, float]()
    host = FineTuning(encoder, {"predictor": rehearsal}, FreezePlan(updates))  # before it moves
    training = encoder.training
    encoder.eval()
    head.to(encoder.device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate)
    order = (batch for epoch in count() for batch in batches.epoch(epoch))
    with seeded(seed, encoder.device):
        for indices in islice(order, updates):
            items = source.load(indices)
            loss, figures = rehearsal.loss(host, indices, items)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    encoder.train(training)
    head.to("cpu")
    return figures


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
