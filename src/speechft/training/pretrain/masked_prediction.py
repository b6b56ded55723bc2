"""HuBERT's pre-training objective: predict the units of masked frames.

Source: HuBERT (Hsu et al. 2021), equations 1 to 3; unmasked frames may take part with a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.lengths import padding_mask
from speechft.encoders import SpeechEncoder
from speechft.heads.rnn import full_precision
from speechft.hidden.front_end import front_end_output
from speechft.training.pretrain.utterance_mixing import mix_utterances


class UnitPredictor(nn.Module):
    """Cosine similarity between projected frames and one embedding per unit, over a temperature.

    Args:
        input_dim: width D of the encoder.
        units: number of units K.
        projection: width of the common space.
        temperature: divides the similarities (0.1 in HuBERT).
    """

    def __init__(
        self, input_dim: int, units: int, projection: int = 128, temperature: float = 0.1
    ) -> None:
        super().__init__()
        self.final_proj = nn.Linear(input_dim, projection)
        self.label_embs_concat = nn.Parameter(torch.empty(units, projection).uniform_())
        self.temperature = temperature

    def forward(self, frames: Tensor) -> Tensor:
        """Turn frames (N, D) into logits (N, K), in float32."""
        with full_precision(self.final_proj(frames)) as projected:
            embeddings = functional.normalize(self.label_embs_concat.float(), dim=-1)
            return functional.normalize(projected, dim=-1) @ embeddings.T / self.temperature


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


def unit_loss(
    predictor: UnitPredictor,
    frames: Tensor,
    lengths: Tensor,
    mask: Tensor,
    targets: Tensor,
    unmasked_weight: float,
) -> tuple[Tensor, dict[str, float]]:
    """Give the cross entropy on masked frames plus the weighted one on others, and figures to log.

    Args:
        predictor: the head.
        frames: last hidden state (B, T, D).
        lengths: valid frames (B,).
        mask: True (B, T) where masked.
        targets: unit of each frame (B, T).
        unmasked_weight: weight of the loss on unmasked frames.
    """
    valid = ~padding_mask(lengths, frames.shape[1])
    logits, wanted, masked = predictor(frames[valid]), targets[valid], mask[valid]
    each = functional.cross_entropy(logits, wanted, reduction="none")
    hidden, seen = each[masked].mean(), each[~masked]
    total = hidden + unmasked_weight * (seen.mean() if len(seen) else 0.0)
    right = (logits.argmax(1) == wanted)[masked].float().mean()
    return total, {"masked_loss": float(hidden.detach()), "masked_accuracy": 100 * float(right)}


def unit_targets(
    units: Sequence[NDArray[np.int32]] | Mapping[int, NDArray[np.int32]],
    indices: Sequence[int],
    frames: int,
) -> Tensor:
    """Give the units (B, T) of some utterances; the last one stands in where a sequence ends."""
    targets = torch.zeros(len(indices), frames, dtype=torch.long)
    for row, index in enumerate(indices):
        own = torch.from_numpy(units[index][:frames].astype(np.int64))
        targets[row, : len(own)] = own
        targets[row, len(own) :] = own[-1]  # at most one frame at the end
    return targets


class MaskedPrediction:
    """The objective: an encoder with a unit predictor on its last hidden state.

    Args:
        encoder: the encoder that is pre-trained, CNN front end included.
        predictor: the head.
        units: unit sequence of each utterance, by index.
        unmasked_weight: weight of the loss on unmasked frames (0 in HuBERT Base).
        share: expected share of masked frames before overlap.
        span: frames in one masked span.
        dev: gives batches of (indices, waveforms) to evaluate on.
        mixing: share of the utterances that are mixed with others in training.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        predictor: UnitPredictor,
        units: Sequence[NDArray[np.int32]] | Mapping[int, NDArray[np.int32]],
        unmasked_weight: float = 0.5,
        share: float = 0.8,
        span: int = 10,
        dev: Callable[[], Sequence[tuple[list[int], list[Tensor]]]] = list,
        mixing: float = 0.0,
    ) -> None:
        self.module = nn.ModuleDict({"encoder": encoder, "predictor": predictor})
        self.encoder, self.predictor = encoder, predictor
        self.units, self.dev = units, dev
        self.unmasked_weight, self.share, self.span = unmasked_weight, share, span
        self.mixing = mixing

    def before_update(self, update: int) -> None:
        """Set train mode (evaluation leaves it)."""
        del update
        self.module.train()

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the cross entropy on masked frames plus the weighted one on unmasked frames.

        Items are waveforms, or the features of a front end that stays frozen.
        """
        device = self.encoder.device
        if self.mixing and self.module.training:
            items = mix_utterances(items, self.mixing, torch.default_generator)
        features, lengths = front_end_output(self.encoder, items)
        generator = torch.default_generator
        mask = sample_spans(lengths.tolist(), self.share, self.span, generator).to(device)
        output = self.encoder.from_front_end(features, lengths, mask_time=mask)
        frames = output.hidden_states[-1]
        targets = unit_targets(self.units, indices, frames.shape[1]).to(device)
        return unit_loss(self.predictor, frames, lengths, mask, targets, self.unmasked_weight)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give loss and accuracy on masked frames of the dev split, the same masks every time."""
        self.module.eval()
        figures: list[dict[str, float]] = []
        for number, (indices, waveforms) in enumerate(self.dev()):
            torch.manual_seed(number)
            figures.append(self.loss(indices, waveforms)[1])
        return {k: float(np.mean([f[k] for f in figures])) for k in (figures[0] if figures else {})}
