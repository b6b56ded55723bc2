"""Which parameters may move at which update: Speech-FT's first stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm

from speechft.training.schedule import share_of


@dataclass(frozen=True)
class FreezePlan:
    """Head warm-up and a CNN front end that stays frozen.

    Args:
        total: number of updates N.
        head_warmup: share of the updates in which only the head is trained (Speech-FT: 0.1).
        front_end: True if the CNN front end stays frozen throughout (Speech-FT: True).
    """

    total: int
    head_warmup: float = 0.1
    front_end: bool = True

    @property
    def first_encoder_update(self) -> int:
        """Give the update (counted from 1) at which the encoder moves for the first time.

        Of 600 updates the first 60 train the head alone, of 10 the first one; the last update of a
        run always moves the encoder.
        """
        return min(self.total, share_of(self.total, self.head_warmup) + 1)

    def encoder_moves(self, update: int) -> bool:
        """Tell whether the encoder is trained at `update` (counted from 1)."""
        return update >= self.first_encoder_update


def set_trainable(parameters: Iterable[Parameter], trainable: bool) -> None:
    """Turn gradients of the parameters on or off; off also forgets gradients left over."""
    for parameter in parameters:
        parameter.requires_grad_(trainable)
        if not trainable:
            parameter.grad = None


class HeldStatistics:
    """Keeps the batch norms of an encoder as they are, which train mode would change.

    Some HuBERT models have one in front of the positional convolution. A batch's own statistics
    would see its padding, and move where nothing is meant to move.

    Args:
        encoder: in training or evaluation mode.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]

    def hold(self) -> None:
        """Set them to evaluation mode."""
        for norm in self._norms:
            norm.eval()
