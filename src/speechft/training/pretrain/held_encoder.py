"""Pre-training that goes on from an encoder: it stands still while the new head settles.

Source: Speech-FT (Lin et al. 2026) continues pre-training by its stable recipe too: the CNN front
end stays frozen, and the first 10 % of the updates train the head alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.training.freezing import FreezePlan, HeldStatistics, set_trainable
from speechft.training.loop import Objective


class HeldEncoder:
    """An objective of pre-training with a plan of which parameters move when.

    Args:
        inner: the objective.
        encoder: the encoder in it.
        plan: head warm-up, and whether the front end stays frozen.
    """

    def __init__(self, inner: Objective, encoder: SpeechEncoder, plan: FreezePlan) -> None:
        self.inner, self.plan = inner, plan
        self._front = list(encoder.front_end_parameters().values())
        self._rest = list(encoder.encoder_parameters().values())
        self._statistics = HeldStatistics(encoder)

    @property
    def module(self) -> nn.Module:
        """The inner objective's module."""
        return self.inner.module

    def before_update(self, update: int) -> None:
        """Freeze what the plan wants frozen."""
        self.inner.before_update(update)
        self._statistics.hold()
        moving = self.plan.encoder_moves(update)
        set_trainable(self._rest, moving)
        set_trainable(self._front, moving and not self.plan.front_end)

    def loss(self, indices: Sequence[int], items: Any) -> tuple[Tensor, dict[str, float]]:
        """Give the inner objective's loss."""
        return self.inner.loss(indices, items)

    def evaluate(self) -> dict[str, float]:
        """Give the inner objective's figures on dev."""
        return self.inner.evaluate()
