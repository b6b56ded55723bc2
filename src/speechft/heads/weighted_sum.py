"""Softmax-weighted sum of an encoder's hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
