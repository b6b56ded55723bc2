"""Stable fine-tuning: a head on the encoder's last hidden state, trained with it.

Source: Speech-FT (Lin et al. 2026), "stable fine-tuning": the CNN front end stays frozen, the first
10 % of the updates train the head alone, no layer drop, no input masking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.training.freezing import FreezePlan, set_trainable


class LabelledTask(Protocol):
    """What the objective needs of a task; the task objects satisfy it."""

    def loss(self, logits: Tensor, lengths: Tensor, targets: list[Tensor]) -> Tensor:
        """Give the mean loss of a batch."""
        ...

    def decode(self, logits: Tensor, lengths: Tensor) -> list[Any]:
        """Turn logits into predictions."""
        ...

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give the metrics in percent."""
        ...


class DevSet(Protocol):
    """Batches of the dev split."""

    def __call__(self) -> Sequence[tuple[list[Tensor], list[Any]]]:
        """Give (items as the source loads them, references) per batch."""
        ...


class FineTuning:
    """The objective of fine-tuning.

    Args:
        encoder: the encoder.
        head: turns its last hidden state (B, T, D) and lengths (B,) into logits.
        task: loss, decoding and metrics.
        targets: the target of each utterance, by index.
        plan: which parameters move when.
        dev: the dev split; may give nothing.
        penalty: added to the loss once the encoder moves.
        encoder_parameters: what moves of the encoder behind its front end; all by default.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        head: nn.Module,
        task: LabelledTask,
        targets: Sequence[Tensor],
        plan: FreezePlan,
        dev: DevSet,
        penalty: Callable[[], Tensor] | None = None,
        encoder_parameters: Sequence[nn.Parameter] | None = None,
    ) -> None:
        self.module = nn.ModuleDict({"encoder": encoder, "head": head})
        self.encoder, self.head, self.task = encoder, head, task
        self.targets, self.plan, self.dev, self.penalty = targets, plan, dev, penalty
        self._front = list(encoder.front_end_parameters().values())
        if encoder_parameters is None:
            encoder_parameters = list(encoder.encoder_parameters().values())
        self._movable = list(encoder_parameters)
        set_trainable(encoder.parameters(), False)
        self._moving = False

    def before_update(self, update: int) -> None:
        """Set train mode and freeze what the plan wants frozen."""
        self.module.train()
        self._moving = self.plan.encoder_moves(update)
        set_trainable(self._movable, self._moving)
        set_trainable(self._front, self._moving and not self.plan.front_end)

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the task's mean loss, plus the penalty."""
        with nullcontext() if self._moving else torch.no_grad():
            frames, lengths = self.encode(items)
        logits = self.head(frames, lengths)
        targets = [self.targets[i].to(frames.device) for i in indices]
        loss = self.task.loss(logits, lengths, targets)
        if self.penalty is None or not self._moving:
            return loss, {}
        penalty = self.penalty()
        return loss + penalty, {"penalty": float(penalty.detach())}

    def encode(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,).

        Args:
            items: front-end features (T, C) where the front end is frozen, else 1-D waveforms.
        """
        if not self.plan.front_end:
            output = self.encoder(items)
        else:
            features = nn.utils.rnn.pad_sequence(items, batch_first=True)
            lengths = torch.tensor([len(item) for item in items])
            device = self.encoder.device
            output = self.encoder.from_front_end(features.to(device), lengths.to(device))
        return output.hidden_states[-1], output.lengths

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give the task's metrics on the dev split."""
        self.module.eval()
        predictions: list[Any] = []
        references: list[Any] = []
        for items, wanted in self.dev():
            frames, lengths = self.encode(items)
            predictions += self.task.decode(self.head(frames, lengths), lengths)
            references += wanted
        return self.task.score(predictions, references) if references else {}
