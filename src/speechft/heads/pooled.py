"""Utterance-level linear head: projection, mean over time, classes."""

from __future__ import annotations

from torch import Tensor, nn

from speechft.core.lengths import masked_mean


class PooledLinear(nn.Module):
    """Linear, mean over the valid frames, Linear: SUPERB's head of KS, SID, IC and ER.

    There is no activation between the layers, so the mean commutes with the projection: time means
    (B, D) give the same logits as frames (B, T, D).

    Args:
        input_dim: D, width of the hidden states.
        num_classes: C.
        projection: width between the two layers.
    """

    def __init__(self, input_dim: int, num_classes: int, projection: int = 256) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, projection)
        self.output = nn.Linear(projection, num_classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Give logits (B, C) for frames (B, T, D) with `lengths` (B,), or for time means (B, D)."""
        x = self.projection(x)
        if lengths is not None:
            x = masked_mean(x, lengths)
        logits: Tensor = self.output(x)
        return logits
