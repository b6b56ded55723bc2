"""An encoder in training, with what stands on it: what moves when, and what it makes of a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end_cache import front_end_output
from speechft.training.freezing import FreezePlan, set_trainable


class EncoderObjective(ABC):
    """What fine-tuning and pre-training share: an encoder that may stand still for a while.

    Under a plan the batch norms of the encoder stay as they are, which train mode would change.
    Some HuBERT models have one in front of the positional convolution: a batch's own statistics
    would see its padding, and move where nothing is meant to move.

    Args:
        encoder: the encoder, CNN front end included.
        heads: name in the state → what is trained with it.
        plan: which parameters move when; all of them, at every update, if there is none.
        movable: what moves of the encoder behind its front end; all that may move by default.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        heads: Mapping[str, nn.Module],
        plan: FreezePlan | None = None,
        movable: Sequence[nn.Parameter] | None = None,
    ) -> None:
        self.module = nn.ModuleDict({"encoder": encoder, **heads})
        self.encoder, self.plan = encoder, plan
        self._front = list(encoder.front_end_parameters().values())
        own = encoder.movable_parameters().values()
        self._movable = list(own if movable is None else movable)
        self._norms = [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
        self._moving = plan is None

    @property
    def moving(self) -> bool:
        """Whether the encoder moves at this update."""
        return self._moving

    @abstractmethod
    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of a batch and further figures to log."""

    def seconds(self, items: list[Tensor]) -> list[float]:
        """Give the seconds that items (waveforms, or features of the front end) cost in a batch."""
        samples = (len(item) * (1 if item.dim() == 1 else self.encoder.hop) for item in items)
        return self.encoder.costs(number / self.encoder.sample_rate for number in samples)

    def weight(self, indices: Sequence[int], items: list[Tensor]) -> float:
        """Give what the mean loss of some items counts beside that of others of their batch."""
        del items
        return float(len(indices))

    @abstractmethod
    def evaluate(self) -> dict[str, float]:
        """Give the figures on the dev split (may be empty)."""

    def before_update(self, update: int) -> None:
        """Set train mode (evaluation leaves it) and freeze what the plan wants frozen."""
        self.module.train()
        if self.plan is None:
            return
        for norm in self._norms:
            norm.eval()
        self._moving = self.plan.encoder_moves(update)
        set_trainable(self._movable, self._moving)
        set_trainable(self._front, self._moving and not self.plan.front_end)

    def front_end(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give front-end features (B, T, C) and frames (B,).

        Args:
            items: 1-D waveforms, or features (T, C) of a front end that stays frozen.
        """
        with self._gradients():
            return front_end_output(self.encoder, items)

    def behind(
        self, features: Tensor, lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,) of front-end features (B, T, C).

        Args:
            features: the front end's output.
            lengths: valid frames (B,).
            mask_time: True (B, T) where the mask embedding stands in for a frame.
        """
        with self._gradients():
            output = self.encoder.from_front_end(features, lengths, mask_time=mask_time)
        return output.hidden_states[-1], output.lengths

    def encode(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,).

        Args:
            items: as for `front_end`.
        """
        if self.plan is not None and self.plan.front_end:
            return self.behind(*self.front_end(items))
        with self._gradients():
            output = self.encoder(items)
        return output.hidden_states[-1], output.lengths

    def _gradients(self) -> AbstractContextManager[None]:
        return nullcontext() if self._moving else torch.no_grad()
