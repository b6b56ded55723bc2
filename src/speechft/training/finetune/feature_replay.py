"""Feature replay: some batches pull the hidden states of unlabelled speech towards those of θ0."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from speechft.core.lengths import padding_mask
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end_cache import front_end_output
from speechft.training.finetune.objective import Part
from speechft.training.objective import EncoderObjective


class FeatureReplay(Part):
    """A part of fine-tuning without a head, for encoders of every family.

    The loss is the squared distance of every hidden state from that of θ0, over the variance of
    the latter, averaged over the hidden states. While the encoder stands still it is 0.

    Args:
        encoder: θ0, untouched; it is copied.
        count: utterances.
    """

    def __init__(self, encoder: SpeechEncoder, count: int) -> None:
        self.head, self.count = nn.Identity(), count
        self.teacher = copy.deepcopy(encoder).eval().requires_grad_(False)

    def loss(
        self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the mean distance of a batch."""
        del indices
        device = host.encoder.device
        if not host.moving:
            return torch.zeros((), device=device, requires_grad=True), {"replay_loss": 0.0}
        with torch.no_grad():
            wanted, lengths = self.teacher.from_front_end(
                *front_end_output(self.teacher.to(device), items)
            )
        found = host.encoder.from_front_end(*host.front_end(items)).hidden_states
        keep = ~padding_mask(lengths, wanted[0].shape[1])
        parts = [
            (own[keep] - old[keep]).float().square().mean() / old[keep].float().var()
            for own, old in zip(found, wanted, strict=True)
        ]
        loss = torch.stack(parts).mean()
        return loss, {"replay_loss": float(loss.detach())}
