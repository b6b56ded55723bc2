"""wav2vec 2.0's pre-training objective: tell a masked frame's quantised features from others.

Source: wav2vec 2.0 (Baevski et al. 2020), section 3, equations 2 to 4: the transformer's output at
a masked frame must be nearer, by cosine, to the quantised features of that frame than to those of
other masked frames of the same utterance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.errors import SettingsError
from speechft.core.lengths import padding_mask
from speechft.encoders import SpeechEncoder
from speechft.heads.rnn import full_precision
from speechft.training.pretrain.quantised_objective import QuantisedObjective
from speechft.training.pretrain.quantiser import GumbelQuantiser, Quantised


class ContrastiveHead(nn.Module):
    """Quantiser and projections into the space of comparison; names as in fairseq.

    Args:
        input_dim: width D of the encoder.
        features: width C of the CNN front end.
        books: of `GumbelQuantiser`.
    """

    def __init__(self, input_dim: int, features: int, **books: Any) -> None:
        super().__init__()
        self.quantizer = GumbelQuantiser(features, **books)
        width = self.quantizer.width
        self.project_q = nn.Linear(width, width)
        self.final_proj = nn.Linear(input_dim, width)


class Contrastive(QuantisedObjective):
    """The objective.

    Args:
        encoder: the encoder that is pre-trained, CNN front end included.
        head: what stands on it.
        negatives: other masked frames that each is compared with.
        temperature: divides the cosines.
        feature_penalty: weight of the mean square of the front end's output.
        front_end_gradient: factor on the gradient that reaches the front end.
        more: of `QuantisedObjective`.

    Raises:
        SettingsError: the encoder has no CNN front end.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        head: ContrastiveHead,
        *,
        negatives: int = 100,
        temperature: float = 0.1,
        feature_penalty: float = 10.0,
        front_end_gradient: float = 0.1,
        **more: Any,
    ) -> None:
        check_front_end(encoder)
        super().__init__(encoder, head, head.quantizer, **more)
        self.projections = head
        self.negatives, self.temperature = negatives, temperature
        self.feature_penalty, self.front_end_gradient = feature_penalty, front_end_gradient

    def measure(
        self, features: Tensor, lengths: Tensor, mask: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Quantised, dict[str, float]]:
        """Give the loss on masked frames, plus that on the others and the penalty, weighted."""
        if features.requires_grad and self.front_end_gradient != 1:
            scale_gradient(features, self.front_end_gradient)
        valid = ~padding_mask(lengths, features.shape[1])
        penalty = features.float()[valid].square().mean()
        normed = self.encoder.model.feature_projection.layer_norm(features)
        frames, _ = self.behind(features, lengths, mask)
        quantised, logits = self._compare(normed, frames, mask)
        hidden = _cross_entropy(logits)
        loss = hidden + self.feature_penalty * penalty
        if seen is not None:
            others = self._compare(normed, frames, seen)[1]
            loss = loss + self.unmasked_weight * _cross_entropy(others)
        right = (logits[:, 0] > logits[:, 1:].amax(dim=1)).float().mean()
        figures = {
            "contrastive_loss": float(hidden.detach()),
            "contrastive_accuracy": 100 * float(right),
            "feature_penalty": float(penalty.detach()),
        }
        return loss, quantised, figures

    def _compare(self, normed: Tensor, frames: Tensor, chosen: Tensor) -> tuple[Quantised, Tensor]:
        """Quantise the features of the chosen frames (B, T) and compare their outputs with them."""
        quantised = self.quantiser(normed[chosen])
        logits = contrastive_logits(
            self.projections.final_proj(frames[chosen]),
            self.projections.project_q(quantised.values),
            quantised.codes,
            chosen.sum(dim=1),
            self.negatives,
            self.temperature,
        )
        return quantised, logits


def _cross_entropy(logits: Tensor) -> Tensor:
    """Give the loss of logits whose first one is the right one."""
    first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return functional.cross_entropy(logits, first)


def contrastive_logits(
    context: Tensor,
    targets: Tensor,
    codes: Tensor,
    counts: Tensor,
    negatives: int,
    temperature: float,
) -> Tensor:
    """Compare each masked frame with its own target and with targets of its utterance.

    Args:
        context: of the masked frames of a batch, utterance by utterance (N, P).
        targets: quantised features of the same frames, projected (N, P).
        codes: their indices in the codebooks (N, G); a negative with the same code is left out.
        counts: masked frames of each utterance (B,), N in all.
        negatives: K, drawn with replacement from the other masked frames of the utterance.
        temperature: divides the cosines.

    Returns:
        Logits (N, 1 + K) in float32, the frame's own target first; -inf where left out.
    """
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)  # row of each utterance's first
    others = (counts - 1).repeat_interleave(counts)[:, None]
    own = torch.arange(len(context), device=context.device)
    drawn = torch.rand(len(context), negatives, device=context.device)
    drawn = torch.minimum((drawn * others).long(), (others - 1).clamp(min=0))
    drawn = drawn + (drawn >= (own - first)[:, None])  # never the frame itself
    rows = (first[:, None] + drawn).clamp(max=len(context) - 1)
    with full_precision(context) as context:
        targets = functional.normalize(targets.float(), dim=-1)
        similar = functional.normalize(context, dim=-1) @ targets.T / temperature
    same = (codes[rows] == codes[:, None]).all(dim=-1) | (others < 1)
    against = similar.gather(1, rows).masked_fill(same, float("-inf"))
    return torch.cat([similar.diagonal()[:, None], against], dim=1)


def scale_gradient(values: Tensor, factor: float) -> None:
    """Multiply the gradient of these values by a factor on its way back."""
    hook: Any = values.register_hook
    hook(lambda gradient: gradient * factor)


def check_front_end(encoder: SpeechEncoder) -> None:
    """Refuse an encoder without a CNN front end and a normed projection behind it.

    Raises:
        SettingsError: it has none.
    """
    projection = getattr(encoder.model, "feature_projection", None)
    if hasattr(projection, "layer_norm") and hasattr(encoder.model, "feature_extractor"):
        return
    raise SettingsError(
        "the contrastive objective cannot train this encoder",
        where="objective",
        found=encoder.family,
        expected="a CNN front end on the waveform (wav2vec2, hubert, wavlm)",
        hint="DeCoAR 2.0 is trained with `objective: reconstruction`",
    )
