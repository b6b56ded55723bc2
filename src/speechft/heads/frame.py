"""Frame-level linear head: one row of logits per frame."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class FrameLinear(nn.Module):
    """Two linear layers without an activation on every frame: SUPERB's head of PR.

    Args:
        input_dim: D, width of the hidden states.
        vocab: V, number of symbols, the CTC blank included.
        projection: width between the two layers.
    """

    def __init__(self, input_dim: int, vocab: int, projection: int = 256) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, projection)
        self.output = nn.Linear(projection, vocab)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Give logits (B, T, V) for frames (B, T, D); `lengths` do not matter."""
        # Without an activation between them the two layers are one: multiply their weights once
        # instead of sending every frame through both.
        weight = self.output.weight @ self.projection.weight
        bias = self.output.weight @ self.projection.bias + self.output.bias
        return functional.linear(x, weight, bias)
