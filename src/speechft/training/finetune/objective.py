"""Stable fine-tuning: heads on the encoder's last hidden state, trained with it.

Source: Speech-FT (Lin et al. 2026), "stable fine-tuning": the CNN front end stays frozen, the first
10 % of the updates train the head alone, no layer drop, no input masking.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate

import torch
from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end import front_end_output
from speechft.training.finetune.parts import Part
from speechft.training.freezing import FreezePlan, HeldStatistics, set_trainable


class FineTuning:
    """The objective of fine-tuning: one part, or several that share the encoder.

    An index counts through the utterances of the first part, then through those of the second, and
    so on; a batch holds utterances of one part.

    Args:
        encoder: the encoder.
        parts: name in the state → part.
        plan: which parameters move when.
        penalty: added to the loss once the encoder moves.
        encoder_parameters: what moves of the encoder behind its front end; all by default.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        parts: Mapping[str, Part],
        plan: FreezePlan,
        penalty: Callable[[], Tensor] | None = None,
        encoder_parameters: Sequence[nn.Parameter] | None = None,
    ) -> None:
        heads = {name: part.head for name, part in parts.items()}
        self.module = nn.ModuleDict({"encoder": encoder, **heads})
        self.encoder, self.parts = encoder, list(parts.values())
        self.plan, self.penalty = plan, penalty
        self._ends = list(accumulate(part.count for part in self.parts))
        self._front = list(encoder.front_end_parameters().values())
        if encoder_parameters is None:
            encoder_parameters = list(encoder.encoder_parameters().values())
        self._movable = list(encoder_parameters)
        self._statistics = HeldStatistics(encoder)
        set_trainable(encoder.parameters(), False)
        self._moving = False

    def before_update(self, update: int) -> None:
        """Set train mode and freeze what the plan wants frozen."""
        self.module.train()
        self._statistics.hold()
        self._moving = self.plan.encoder_moves(update)
        set_trainable(self._movable, self._moving)
        set_trainable(self._front, self._moving and not self.plan.front_end)

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of the batch's part, plus the penalty."""
        number = bisect_right(self._ends, indices[0])
        part = self.parts[number]
        first = self._ends[number] - part.count
        loss, figures = part.loss(self, [i - first for i in indices], items)
        if self.penalty is None or not self._moving:
            return loss, figures
        penalty = self.penalty()
        return loss + penalty, {**figures, "penalty": float(penalty.detach())}

    def encode(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,).

        Args:
            items: front-end features (T, C) where the front end is frozen, else 1-D waveforms.
        """
        if self.plan.front_end:
            return self.behind(*self.front_end(items))
        with self._gradients():
            output = self.encoder(items)
        return output.hidden_states[-1], output.lengths

    def front_end(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give front-end features (B, T, C) and frames (B,); `items` as for `encode`."""
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

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give every part's figures on the dev split."""
        self.module.eval()
        return {name: value for part in self.parts for name, value in part.evaluate(self).items()}

    def _gradients(self) -> AbstractContextManager[None]:
        return nullcontext() if self._moving else torch.no_grad()
