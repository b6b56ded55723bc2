"""Weighted sum of hidden states, and the linear heads behind it: for utterances and for frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.lengths import masked_mean


class WeightedSum(nn.Module):
    """Sum K hidden states with learned weights that a softmax makes positive and sum to one.

    The K scalars start at 0, so every state starts with the same weight.

    Args:
        num_states: K, layers + 1.
        layer_norm: normalise each state over its last axis first, without parameters (off in
            SUPERB).

    Source:
        SUPERB's featurizer, as in S3PRL 0.4.
    """

    def __init__(self, num_states: int, *, layer_norm: bool = False) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_states))
        self.layer_norm = layer_norm

    def forward(self, states: Tensor) -> Tensor:
        """Give (..., D) for states (K, ..., D), for example (K, B, T, D) or (K, B, D)."""
        if self.layer_norm:
            states = functional.layer_norm(states, states.shape[-1:])
        shares = torch.softmax(self.weights, dim=0).to(states.dtype)
        return (shares @ states.reshape(len(states), -1)).view(states.shape[1:])


class _TwoLinear(nn.Module):
    def __init__(self, input_dim: int, outputs: int, projection: int = 256) -> None:
        super().__init__()
        self.projection = nn.Linear(input_dim, projection)
        self.output = nn.Linear(projection, outputs)


class PooledLinear(_TwoLinear):
    """Linear, mean over the valid frames, Linear: SUPERB's head of KS, SID, IC and ER.

    There is no activation between the layers, so the mean commutes with the projection: time means
    (B, D) give the same logits as frames (B, T, D).

    Args:
        input_dim: D, width of the hidden states.
        outputs: C, number of classes.
        projection: width between the two layers.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Give logits (B, C) for frames (B, T, D) with `lengths` (B,), or for time means (B, D)."""
        x = self.projection(x)
        if lengths is not None:
            x = masked_mean(x, lengths)
        logits: Tensor = self.output(x)
        return logits


class FrameLinear(_TwoLinear):
    """Two linear layers without an activation on every frame: SUPERB's head of PR.

    Args:
        input_dim: D, width of the hidden states.
        outputs: V, number of symbols, the CTC blank included.
        projection: width between the two layers.
    """

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Give logits (B, T, V) for frames (B, T, D); `lengths` do not matter."""
        # Without an activation between them the two layers are one: multiply their weights once
        # instead of sending every frame through both.
        weight = self.output.weight @ self.projection.weight
        bias = self.output.weight @ self.projection.bias + self.output.bias
        return functional.linear(x, weight, bias)
