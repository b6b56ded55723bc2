"""Stable fine-tuning: heads on the encoder's last hidden state, trained with it.

Source: Speech-FT (Lin et al. 2026), "stable fine-tuning": the CNN front end stays frozen, the first
10 % of the updates train the head alone, no layer drop, no input masking.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from speechft.encoders import SpeechEncoder
from speechft.heads.spec_augment import SpecAugment
from speechft.tasks import Task
from speechft.training.finetune.masking import InputMask
from speechft.training.freezing import FreezePlan, set_trainable
from speechft.training.objective import EncoderObjective

DevBatches = Callable[[], Sequence[tuple[list[Tensor], list[Any]]]]
"""Gives the dev split: of each batch, items as the source loads them, and references."""


class Part(ABC):
    """One head and what it learns.

    Attributes:
        head: the head.
        count: utterances that it is trained on.
    """

    head: nn.Module
    count: int

    @abstractmethod
    def loss(
        self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of a batch and figures to log; indices count from the part's first."""

    def weight(self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]) -> float:
        """Give what the mean loss of some items counts beside that of others of their batch."""
        del host, items
        return float(len(indices))

    def evaluate(self, host: EncoderObjective) -> dict[str, float]:
        """Give the figures on the dev split; none where there is no such thing."""
        del host
        return {}

    def tune(self, host: EncoderObjective) -> None:
        """Let dev fix what decoding leaves open, as `evaluate` does."""
        del host


class TaskPart(Part):
    """A task's head on the encoder's last hidden state.

    Args:
        head: turns the last hidden state (B, T, D) and lengths (B,) into logits.
        task: loss, decoding and metrics.
        targets: the target of each utterance, by index.
        dev: the dev split; may give nothing.
        name: of the task, where several train together; its figures are then named after it.
        augment: changes frames (B, T, D) with their lengths in training.
    """

    def __init__(
        self,
        head: nn.Module,
        task: Task,
        targets: Sequence[Tensor],
        dev: DevBatches,
        name: str = "",
        augment: SpecAugment | None = None,
    ) -> None:
        self.augment = augment
        self.head, self.task, self.targets, self.dev = head, task, targets, dev
        self.count = len(targets)
        self.name = name

    def loss(
        self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the task's mean loss."""
        frames, lengths = host.encode(items)
        if self.augment is not None:
            frames = self.augment(frames.float(), lengths)
        logits = self.head(frames, lengths)
        targets = [self.targets[i] for i in indices]
        loss = self.task.loss(logits, lengths, targets)
        return loss, {f"{self.name}_loss": float(loss.detach())} if self.name else {}

    def weight(self, host: EncoderObjective, indices: Sequence[int], items: list[Tensor]) -> float:
        """Give what the task's mean is taken over: utterances, or frames."""
        sizes = torch.tensor([len(item) for item in items])
        frames = sizes if items[0].dim() > 1 else host.encoder.frame_lengths(sizes)
        return self.task.weight(frames.tolist(), [self.targets[i] for i in indices])

    @torch.no_grad()
    def evaluate(self, host: EncoderObjective) -> dict[str, float]:
        """Give the task's metrics on the dev split."""
        predictions: list[Any] = []
        references: list[Any] = []
        for items, wanted in self.dev():
            frames, lengths = host.encode(items)
            predictions += self.task.decode(self.head(frames, lengths), lengths)
            references += wanted
        if not references:
            return {}
        self.task.tune(predictions, references)
        scores = self.task.score(predictions, references)
        return {f"{self.name}_{m}" if self.name else m: value for m, value in scores.items()}

    def tune(self, host: EncoderObjective) -> None:
        """Let dev fix what decoding leaves open, for the weights as they are."""
        if self.task.tunes:
            self.evaluate(host)


class FineTuning(EncoderObjective):
    """The objective of fine-tuning: one part, or several that share the encoder.

    An index counts through the utterances of the first part, then through those of the second, and
    so on; a batch holds utterances of one part.

    Args:
        encoder: the encoder.
        parts: name in the state → part.
        plan: which parameters move when.
        penalty: added to the loss once the encoder moves.
        movable: what moves of the encoder behind its front end; all by default.
        masking: of what the tasks hear, in training.
        watch: gives further figures at every evaluation.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        parts: Mapping[str, Part],
        plan: FreezePlan,
        penalty: Callable[[], Tensor] | None = None,
        movable: Sequence[nn.Parameter] | None = None,
        masking: InputMask | None = None,
        watch: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self.masking, self.watch = masking, watch
        super().__init__(encoder, {name: part.head for name, part in parts.items()}, plan, movable)
        self.parts, self.penalty = list(parts.values()), penalty
        self._ends = list(accumulate(part.count for part in self.parts))
        set_trainable(encoder.parameters(), False)
        self._moving = False

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of the batch's part, plus the penalty."""
        part, own = self._part_of(indices)
        loss, figures = part.loss(self, own, items)
        if self.penalty is None or not self._moving:
            return loss, figures
        penalty = self.penalty()
        return loss + penalty, {**figures, "penalty": float(penalty.detach())}

    def weight(self, indices: Sequence[int], items: list[Tensor]) -> float:
        """Give what the loss of some items counts beside that of others of their batch."""
        part, own = self._part_of(indices)
        return part.weight(self, own, items)

    def _part_of(self, indices: Sequence[int]) -> tuple[Part, list[int]]:
        """Give the part that a batch is of, and the indices counted from its first utterance."""
        number = bisect_right(self._ends, indices[0])
        part = self.parts[number]
        first = self._ends[number] - part.count
        return part, [i - first for i in indices]

    def encode(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,), masked in training."""
        if self.masking is None or not self.module.training:
            return super().encode(items)
        return self.behind(*self.masking(*self.front_end(items)))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Give every part's figures on the dev split."""
        self.module.eval()
        found = {name: value for part in self.parts for name, value in part.evaluate(self).items()}
        return found | self.watch()

    def tune(self) -> None:
        """Let dev fix what the tasks' decoding leaves open, for the weights as they are."""
        self.module.eval()
        for part in self.parts:
            part.tune(self)
