"""HuBERT's pre-training objective: predict the units of masked frames.

Source: HuBERT (Hsu et al. 2021), equations 1 to 3; unmasked frames may take part with a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.lengths import padding_mask
from speechft.encoders import SpeechEncoder
from speechft.heads.rnn import full_precision
from speechft.training.objective import EncoderObjective
from speechft.training.pretrain.objective import MaskedObjective, sample_mask
from speechft.training.pretrain.utterance_mixing import mix_utterances

Units = Sequence[NDArray[np.int32]] | Mapping[int, NDArray[np.int32]]


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


def unit_targets(units: Units, indices: Sequence[int], frames: int) -> Tensor:
    """Give the units (B, T) of some utterances; the last one stands in where a sequence ends."""
    targets = torch.zeros(len(indices), frames, dtype=torch.long)
    for row, index in enumerate(indices):
        own = torch.from_numpy(units[index][:frames].astype(np.int64))
        targets[row, : len(own)] = own
        targets[row, len(own) :] = own[-1]  # at most one frame at the end
    return targets


def predict_units(
    host: EncoderObjective,
    predictor: UnitPredictor,
    units: Units,
    indices: Sequence[int],
    items: list[Tensor],
    unmasked_weight: float,
    share: float = 0.8,
    span: int = 10,
    feature_penalty: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Mask frames of a batch, by torch's global generator, and give the loss and figures to log.

    Args:
        host: the encoder.
        predictor: the head.
        units: unit sequence of each utterance, by index.
        indices: the utterances.
        items: waveforms, or the features of a front end that stays frozen.
        unmasked_weight: weight of the loss on unmasked frames.
        share: expected share of masked frames before overlap.
        span: frames in one masked span.
        feature_penalty: weight of the mean square of the front end's output, where that is trained.
    """
    features, lengths = host.front_end(items)
    mask = sample_mask(lengths, share, span)
    frames, lengths = host.behind(features, lengths, mask)
    targets = unit_targets(units, indices, frames.shape[1]).to(frames.device)
    loss, figures = unit_loss(predictor, frames, lengths, mask, targets, unmasked_weight)
    if feature_penalty and features.requires_grad:
        valid = ~padding_mask(lengths, features.shape[1])
        loss = loss + feature_penalty * features[valid].float().square().mean()
    return loss, figures


class MaskedPrediction(MaskedObjective):
    """The objective: an encoder with a unit predictor on its last hidden state.

    Args:
        encoder: the encoder that is pre-trained, CNN front end included.
        predictor: the head.
        units: unit sequence of each utterance, by index.
        unmasked_weight: weight of the loss on unmasked frames (0 in HuBERT Base).
        share, span: of masked frames, see `sample_spans`.
        mixing: share of the utterances that are mixed with others in training.
        feature_penalty: weight of the mean square of a trained front end's output.
        more: of `MaskedObjective`.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        predictor: UnitPredictor,
        units: Units,
        *,
        unmasked_weight: float = 0.5,
        share: float = 0.8,
        span: int = 10,
        mixing: float = 0.0,
        feature_penalty: float = 0.0,
        **more: Any,
    ) -> None:
        more |= {"unmasked_weight": unmasked_weight, "share": share, "span": span}
        super().__init__(encoder, predictor, "predictor", **more)
        self.predictor, self.units, self.mixing = predictor, units, mixing
        self.feature_penalty = feature_penalty

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the cross entropy on masked frames plus the weighted one on unmasked frames."""
        if self.mixing and self.module.training:
            items = mix_utterances(items, self.mixing, torch.default_generator)
        given = (indices, items, self.unmasked_weight, self.share, self.span, self.feature_penalty)
        return predict_units(self, self.predictor, self.units, *given)
