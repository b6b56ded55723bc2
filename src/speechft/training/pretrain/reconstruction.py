"""DeCoAR 2.0's pre-training objective: reconstruct masked filter banks from discrete codes.

Source: DeCoAR 2.0 (Ling and Liu 2020): the transformer's output passes a quantiser, and a small
network makes the masked frames of it (L1), with a diversity loss on the codebooks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from speechft.core.errors import SettingsError
from speechft.encoders import SpeechEncoder
from speechft.encoders.families.decoar2 import Decoar2Encoder
from speechft.training.pretrain.quantised_objective import QuantisedObjective
from speechft.training.pretrain.quantiser import GumbelQuantiser, Quantised


class ReconstructionHead(nn.Module):
    """Mask embedding, quantiser, and the network from codes to filter banks.

    Args:
        input_dim: width D of the encoder.
        bins: filter banks of a frame.
        books: of `GumbelQuantiser`.
    """

    def __init__(self, input_dim: int, bins: int = 80, **books: Any) -> None:
        super().__init__()
        self.mask_emb = nn.Parameter(torch.empty(input_dim).uniform_())
        self.quantizer = GumbelQuantiser(input_dim, **books)
        self.decoder = nn.Sequential(
            nn.Linear(self.quantizer.width, input_dim), nn.ReLU(), nn.Linear(input_dim, bins)
        )


class Reconstruction(QuantisedObjective):
    """The objective.

    Args:
        encoder: DeCoAR 2.0.
        head: what stands on it.
        more: of `QuantisedObjective`.

    Raises:
        SettingsError: the encoder does not take filter banks.
    """

    def __init__(self, encoder: SpeechEncoder, head: ReconstructionHead, **more: Any) -> None:
        self.decoar2 = check_filter_banks(encoder)
        super().__init__(encoder, head, head.quantizer, **more)
        self.books = head

    def measure(
        self, features: Tensor, lengths: Tensor, mask: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Quantised, dict[str, float]]:
        """Give the mean absolute error on masked frames, plus the weighted one on the others.

        `silent_error` is what a network without ears would get, the error of the mean 0.
        """
        hidden = self.decoar2.project(features)
        embedding = self.books.mask_emb.to(hidden.dtype)
        hidden = torch.where(mask[..., None], embedding, hidden)
        frames = self.decoar2.transform(hidden, lengths, None).hidden_states[-1]
        quantised, error = self._errors(frames[mask], features[mask])
        loss = error
        if seen is not None:
            loss = loss + self.unmasked_weight * self._errors(frames[seen], features[seen])[1]
        silent = float(features[mask].abs().mean())
        figures = {"masked_error": float(error.detach()), "silent_error": silent}
        return loss, quantised, figures

    def _errors(self, frames: Tensor, wanted: Tensor) -> tuple[Quantised, Tensor]:
        quantised = self.quantiser(frames)
        made = self.books.decoder(quantised.values)
        return quantised, (made.float() - wanted.float()).abs().mean()


def check_filter_banks(encoder: SpeechEncoder) -> Decoar2Encoder:
    """Give the encoder back if it takes filter banks in.

    Raises:
        SettingsError: it does not.
    """
    if isinstance(encoder, Decoar2Encoder):
        return encoder
    raise SettingsError(
        "reconstruction of filter banks cannot train this encoder",
        where="objective",
        found=encoder.family,
        expected="decoar2",
        hint="use `objective: contrastive` or masked prediction",
    )
