"""What trains beside the encoder: heads, each with the batches that are its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Host(Protocol):
    """The encoder as a part sees it: gradients flow into it where it is meant to move."""

    def front_end(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give front-end features (B, T, C) and frames (B,) of a batch as the source loads it."""
        ...

    def behind(
        self, features: Tensor, lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,) of front-end features."""
        ...

    def encode(self, items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Give the last hidden state (B, T, D) and lengths (B,) of a batch."""
        ...


class Part(Protocol):
    """One head and what it learns."""

    @property
    def head(self) -> nn.Module:
        """The head."""
        ...

    @property
    def count(self) -> int:
        """Utterances that it is trained on."""
        ...

    def loss(
        self, host: Host, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of a batch and figures to log; indices count from the part's first."""
        ...

    def evaluate(self, host: Host) -> dict[str, float]:
        """Give the figures on the dev split (may be none)."""
        ...


class LabelledTask(Protocol):
    """What training needs of a task; the task objects satisfy it."""

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


class TaskPart:
    """A task's head on the encoder's last hidden state.

    Args:
        head: turns the last hidden state (B, T, D) and lengths (B,) into logits.
        task: loss, decoding and metrics.
        targets: the target of each utterance, by index.
        dev: the dev split; may give nothing.
        name: of the task, where several train together; its figures are then named after it.
    """

    def __init__(
        self,
        head: nn.Module,
        task: LabelledTask,
        targets: Sequence[Tensor],
        dev: DevSet,
        name: str = "",
    ) -> None:
        self.head, self.task, self.targets, self.dev = head, task, targets, dev
        self.count = len(targets)
        self.name = name

    def loss(
        self, host: Host, indices: Sequence[int], items: list[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Give the task's mean loss."""
        frames, lengths = host.encode(items)
        logits = self.head(frames, lengths)
        targets = [self.targets[i] for i in indices]
        loss = self.task.loss(logits, lengths, targets)
        return loss, {f"{self.name}_loss": float(loss.detach())} if self.name else {}

    @torch.no_grad()
    def evaluate(self, host: Host) -> dict[str, float]:
        """Give the task's metrics on the dev split."""
        predictions: list[Any] = []
        references: list[Any] = []
        for items, wanted in self.dev():
            frames, lengths = host.encode(items)
            predictions += self.task.decode(self.head(frames, lengths), lengths)
            references += wanted
        scores = self.task.score(predictions, references) if references else {}
        return {f"{self.name}_{m}" if self.name else m: value for m, value in scores.items()}
