"""How long and how a probe is trained: what a task says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Scheme = Literal["bucketed", "shuffled", "balanced", "window", "blocks"]
"""A way of making batches, see `probing.batches.updates`."""

# The learning rates that SUPERB tries.
GRID: Final = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
RECURRENT_GRID: Final = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class Plan:
    """How a task's probe is trained: by Adam, on shuffled batches of utterances of similar lengths.

    Attributes:
        steps: updates.
        batch_size: utterances per update (SUPERB's effective batch).
        rates: learning rates to choose among on dev.
        decay: the rate falls linearly to 0; else it stays.
        clip: largest gradient norm.
        weight_decay: decoupled from the gradient, as in AdamW.
    """

    steps: int
    batch_size: int
    rates: tuple[float, ...]
    decay: bool = False
    clip: float = 1.0
    weight_decay: float = 0.0


@dataclass(frozen=True)
class TuningPlan:
    """How the paper's release fine-tunes on a task.

    Attributes:
        steps: updates.
        batch_size: utterances per update.
        evaluate_every: updates between evaluations on dev.
    """

    steps: int
    batch_size: int
    evaluate_every: int


@dataclass(frozen=True)
class PublishedPlan:
    """How S3PRL makes batches and when it scores dev; the rest is the plan of size "superb".

    Attributes:
        scheme: of batches.
        batch: utterances per batch.
        accumulate: batches per update.
        eval_batch: utterances per batch where nothing is trained.
        checks: times that dev is scored.
    """

    scheme: Scheme
    batch: int
    accumulate: int
    eval_batch: int
    checks: int
