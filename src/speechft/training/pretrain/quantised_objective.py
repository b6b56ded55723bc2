"""What objectives with a quantiser share: annealing, the diversity loss, figures on dev."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end import front_end_output
from speechft.training.pretrain.masked_prediction import sample_spans
from speechft.training.pretrain.quantiser import (
    GumbelQuantiser,
    Quantised,
    perplexity,
    temperature_at,
)

DevBatches = Callable[[], Sequence[tuple[list[int], list[Tensor]]]]


class Measured(NamedTuple):
    """The losses of a batch, before they are weighed.

    Attributes:
        loss: of the task proper.
        quantised: what the quantiser made of the masked frames.
        figures: for `metrics.jsonl`.
    """

    loss: Tensor
    quantised: Quantised
    figures: dict[str, float]


class QuantisedObjective(ABC):
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
        dev: gives batches of (indices, waveforms) to evaluate on.
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
        dev: DevBatches = list,
    ) -> None:
        self.module = nn.ModuleDict({"encoder": encoder, "head": head})
        self.encoder, self.head, self.quantiser = encoder, head, quantiser
        self.steps, self.temperatures, self.diversity = steps, tuple(temperatures), diversity
        self.unmasked_weight, self.share, self.span = unmasked_weight, share, span
        self.dev = dev

    @abstractmethod
    def measure(self, features: Tensor, lengths: Tensor) -> Measured:
        """Mask the front end's features (B, T, C), lengths (B,), and give the losses."""

    def before_update(self, update: int) -> None:
        """Set train mode (evaluation leaves it) and the temperature."""
        self.module.train()
        self.quantiser.temperature = temperature_at(update, self.steps, self.temperatures)

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the task's loss plus the weighted diversity loss."""
        del indices
        measured = self._measure(items)
        diversity = measured.quantised.diversity
        used = int((measured.quantised.usage > 0).sum())
        figures = {"diversity_loss": float(diversity.detach()), "codes": float(used)}
        return measured.loss + self.diversity * diversity, measured.figures | figures

    def sample_mask(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Choose the masked frames (B, T) of features (B, T, C)."""
        mask = sample_spans(lengths.tolist(), self.share, self.span, torch.default_generator)
        return mask.to(features.device)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give the figures on the dev split, the same masks every time.

        `codes` counts the entries that any frame of the split chose, `code_perplexity` how evenly,
        as a mean over the codebooks.
        """
        self.module.eval()
        figures: list[dict[str, float]] = []
        usage = torch.zeros(self.quantiser.groups, self.quantiser.entries)
        for number, (_, waveforms) in enumerate(self.dev()):
            torch.manual_seed(number)
            measured = self._measure(waveforms)
            figures.append(measured.figures)
            usage += measured.quantised.usage.cpu()
        if not figures:
            return {}
        spread = perplexity(usage / usage.sum(dim=1, keepdim=True)).mean()
        means = {k: float(np.mean([f[k] for f in figures])) for k in figures[0]}
        return {**means, "codes": float((usage > 0).sum()), "code_perplexity": float(spread)}

    def _measure(self, items: list[Tensor]) -> Measured:
        return self.measure(*front_end_output(self.encoder, items))
