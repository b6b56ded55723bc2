"""X-vector head: time-delay layers, statistics pooling, speaker embedding."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.lengths import masked_mean, padding_mask
from speechft.heads.rnn import full_precision

# kernel width and dilation of the five time-delay layers
CONTEXTS: Final = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
SHRINK: Final = sum((width - 1) * dilation for width, dilation in CONTEXTS)  # 14 frames


class XVector(nn.Module):
    """SUPERB's head of ASV: Linear, five time-delay layers, mean and deviation, two layers.

    In training it gives cosines between each utterance and a learned direction per speaker, for an
    angular margin loss. In evaluation it gives embeddings: the first layer behind the pooling.

    Args:
        input_dim: D, width of the hidden states.
        speakers: C.
        width: of the projection, of all but the last time-delay layer, and of the embedding.
        last: width of the last time-delay layer, which is pooled.
        padded_frame: count one padding frame of every shorter utterance of a training batch as
            valid when pooling, as S3PRL does; it evaluates one utterance at a time, without any.

    Source:
        Snyder et al., "X-vectors", 2018; sizes of S3PRL 0.4's ASV.
    """

    def __init__(
        self,
        input_dim: int,
        speakers: int,
        width: int = 512,
        last: int = 1500,
        *,
        padded_frame: bool = False,
    ) -> None:
        super().__init__()
        self.padded_frame = padded_frame
        self.projection = nn.Linear(input_dim, width)
        widths = [width] * len(CONTEXTS) + [last]
        self.layers = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], size, dilation=dilation)
            for i, (size, dilation) in enumerate(CONTEXTS)
        )
        self.embedding = nn.Linear(2 * last, width)
        self.hidden = nn.Linear(width, width)
        self.directions = nn.Parameter(nn.init.xavier_normal_(torch.empty(width, speakers)))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Give cosines (B, C) in training, embeddings (B, E) in evaluation.

        Args:
            x: frames (B, T, D), zero beyond the lengths.
            lengths: valid frames (B,); an utterance under 16 frames is padded with zeros to 16.
        """
        x = functional.pad(x, (0, 0, 0, max(0, SHRINK + 2 - x.shape[1])))
        x = self.projection(x).transpose(1, 2)
        for layer in self.layers:
            x = torch.relu(layer(x))
        more = int(self.padded_frame and self.training)
        valid = (lengths.to(x.device) - SHRINK + more).clamp(2, x.shape[2])
        embedding = torch.relu(self.embedding(statistics(x.transpose(1, 2), valid)))
        if not self.training:
            return embedding
        with full_precision(torch.relu(self.hidden(embedding))) as hidden:
            return functional.normalize(hidden) @ functional.normalize(self.directions, dim=0)


def statistics(x: Tensor, lengths: Tensor) -> Tensor:
    """Give mean and unbiased standard deviation (B, 2 D) over the valid frames of (B, T, D)."""
    keep = ~padding_mask(lengths, x.shape[1])[..., None]
    mean = masked_mean(x, lengths)
    squares = ((x - mean[:, None]).square() * keep).sum(dim=1)
    variance = squares / (lengths[:, None] - 1)
    # The root has no gradient at zero: leave columns that do not vary out of it.
    deviation = torch.where(variance > 0, variance.clamp(min=1e-20).sqrt(), 0.0)
    return torch.cat([mean, deviation], dim=1)
