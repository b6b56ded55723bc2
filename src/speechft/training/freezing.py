"""Which parameters may move at which update: Speech-FT's first stage."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch.nn import Parameter

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
        run always moves the encoder, unless the share is 1.
        """
        if self.head_warmup == 1:
            return self.total + 1
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
