"""What objectives with a quantiser share: annealing, the diversity loss, how codes are used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechft.core.lengths import padding_mask
from speechft.encoders import SpeechEncoder
from speechft.training.pretrain.objective import MaskedObjective, sample_mask
from speechft.training.pretrain.quantiser import (
    GumbelQuantiser,
    Quantised,
    perplexity,
    temperature_at,
)


class QuantisedObjective(MaskedObjective):
    """An encoder and a head with a quantiser, trained by a task on masked frames.

    Args:
        encoder: the encoder that is pre-trained, front end included.
        head: what stands on it and is thrown away.
        quantiser: the part of the head that quantises.
        steps: updates of the whole run.
        temperatures: the Gumbel softmax's first and last temperature.
        diversity: weight of the diversity loss (0.1 in wav2vec 2.0 and DeCoAR 2.0).
        unmasked_weight: weight of the task's loss on unmasked frames (0 in both).
        share, span: of masked frames, see `sample_spans`.
        more: of `MaskedObjective`.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        head: nn.Module,
        quantiser: GumbelQuantiser,
        *,
        steps: int,
        temperatures: Sequence[float] = (2.0, 0.5),
        diversity: float = 0.1,
        unmasked_weight: float = 0.0,
        share: float = 0.65,
        span: int = 10,
        **more: Any,
    ) -> None:
        more |= {"unmasked_weight": unmasked_weight, "share": share, "span": span}
        super().__init__(encoder, head, "head", **more)
        self.head, self.quantiser = head, quantiser
        self.steps, self.temperatures, self.diversity = steps, tuple(temperatures), diversity
        self._usage = torch.zeros(quantiser.groups, quantiser.entries)  # of every call of `loss`

    @abstractmethod
    def measure(
        self, features: Tensor, lengths: Tensor, mask: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Quantised, dict[str, float]]:
        """Give the task's loss, what the quantiser made of the masked frames, and figures.

        Args:
            features: of the front end (B, T, C).
            lengths: valid frames (B,).
            mask: True (B, T) where a frame is masked.
            seen: True (B, T) at all other valid frames; none where they have no part in the loss.
        """

    def before_update(self, update: int) -> None:
        """Set train mode, what moves, and the temperature."""
        super().before_update(update)
        self.quantiser.temperature = temperature_at(update, self.steps, self.temperatures)

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the task's loss plus the weighted diversity loss."""
        del indices
        features, lengths = self.front_end(items)
        mask = sample_mask(lengths, self.share, self.span)
        seen = ~mask & ~padding_mask(lengths, features.shape[1])
        heard = seen if self.unmasked_weight and bool(seen.any()) else None
        loss, quantised, figures = self.measure(features, lengths, mask, heard)
        self._usage += quantised.usage.cpu()
        diversity, used = quantised.diversity, float((quantised.usage > 0).sum())
        figures |= {"diversity_loss": float(diversity.detach()), "codes": used}
        return loss + self.diversity * diversity, figures

    def evaluate(self) -> dict[str, float]:
        """Give the mean figures on the dev split, the same masks every time.

        `codes` counts the entries that any frame of the split chose, `code_perplexity` how evenly,
        as a mean over the codebooks.
        """
        self._usage.zero_()
        figures = super().evaluate()
        if not figures:
            return {}
        del figures["diversity_loss"]
        usage = self._usage
        spread = perplexity(usage / usage.sum(dim=1, keepdim=True)).mean()
        return {**figures, "codes": float((usage > 0).sum()), "code_perplexity": float(spread)}
