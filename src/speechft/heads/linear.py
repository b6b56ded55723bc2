"""Weighted sum of hidden states, and the linear heads behind it: for utterances and for frames."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechft.core.lengths import masked_mean


class WeightedSum(nn.Module):
    """Sum K hidden states with learned weights that a softmax makes positive and sum to one.

    The K scalars start at 0, so every state starts with the same weight.

    Args:
        num_states: K, layers + 1.

    Source:
        SUPERB's featurizer, as in S3PRL 0.4.
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: Tensor) -> Tensor:
        """Give (..., D) for states (K, ..., D), for example (K, B, T, D) or (K, B, D)."""
        shares = torch.softmax(self.weights, dim=0).to(states.dtype)
        return (shares @ states.reshape(len(states), -1)).view(states.shape[1:])


class Probe(nn.Module):
    """Softmax-weighted sum of the hidden states, then a head.

    Args:
        num_states: K.
        head: called with (x, lengths).
        augment: called with (x, lengths) between the two, in training.
        normalize: give every frame of every state mean 0 and variance 1 over its D values first.

    Source:
        `normalize` is that of the featurizer in S3PRL 0.4.
    """

    def __init__(
        self,
        num_states: int,
        head: nn.Module,
        augment: nn.Module | None = None,
        *,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.weighted_sum = WeightedSum(num_states)
        self.augment = augment
        self.head = head

    def forward(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """Give the head's logits for states (K, B, T, D) with lengths, or (K, B, D) and None."""
        if self.normalize:
            states = functional.layer_norm(states, states.shape[-1:])
        x = self.weighted_sum(states)
        if self.augment is not None and self.training:
            x = self.augment(x, lengths)
        logits: Tensor = self.head(x, lengths)
        return logits


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


class FrameHead(nn.Module, ABC):
    """A head whose logits of a frame are one linear function of it."""

    @abstractmethod
    def as_one(self) -> tuple[Tensor, Tensor]:
        """Give the weight (V, D) and the bias (V,) of that function."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Give logits (B, T, V) for frames (B, T, D); `lengths` do not matter."""
        return functional.linear(x, *self.as_one())


class OneLinear(FrameHead):
    """One linear layer on every frame, as in transformers' `…ForCTC`.

    Args:
        input_dim: D, width of the hidden states.
        outputs: V, number of symbols, the CTC blank included.
    """

    def __init__(self, input_dim: int, outputs: int) -> None:
        super().__init__()
        self.output = nn.Linear(input_dim, outputs)

    def as_one(self) -> tuple[Tensor, Tensor]:
        """Give its weight (V, D) and bias (V,)."""
        return self.output.weight, self.output.bias


class FrameLinear(FrameHead, _TwoLinear):
    """Two linear layers without an activation on every frame: SUPERB's head of PR.

    Args:
        input_dim: D, width of the hidden states.
        outputs: V, number of symbols, the CTC blank included.
        projection: width between the two layers.
    """

    def as_one(self) -> tuple[Tensor, Tensor]:
        """Multiply the weights once, instead of sending every frame through both layers."""
        weight = self.output.weight @ self.projection.weight
        return weight, self.output.weight @ self.projection.bias + self.output.bias
