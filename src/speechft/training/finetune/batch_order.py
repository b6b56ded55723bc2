"""In which batches a task's utterances come, and how many updates an epoch of them is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from speechft.core.seeding import derive_seed
from speechft.data.batching import BalancedBatches, DurationBatches, VariedBatches
from speechft.data.cuts import heard_seconds
from speechft.encoders import SpeechEncoder
from speechft.tasks.utterance_classes import ClassTask
from speechft.training.batch_stream import EpochBatches
from speechft.training.finetune.data import TaskData
from speechft.training.finetune.settings import FinetuneSettings


def order_seed(settings: FinetuneSettings, name: str, several: bool) -> int:
    """Give the seed of a part's order; one part alone goes without its name."""
    return derive_seed(settings.seed, "order", *((name,) if several else ()))


def task_order(
    settings: FinetuneSettings, encoder: SpeechEncoder, data: TaskData, seed: int
) -> EpochBatches:
    """Give a task's batches: each utterance once an epoch, or drawn so that classes balance.

    Indices count through `TaskData.spoken`.
    """
    (seconds, items), speeds = settings.bounds, settings.speed
    order: Callable[[Sequence[float]], EpochBatches]
    if settings.balanced and isinstance(data.task, ClassTask):
        classes = [tuple(data.task.target(cut).tolist()) for cut in data.cuts]
        order = partial(
            BalancedBatches, classes=classes, max_seconds=seconds, seed=seed, max_items=items
        )
    else:
        order = partial(DurationBatches, max_seconds=seconds, seed=seed, max_items=items)

    costs = encoder.costs(map(heard_seconds, data.spoken(speeds)))
    return VariedBatches(costs, len(speeds), order, seed) if speeds else order(costs)


def updates_of(
    epochs: float, settings: FinetuneSettings, encoder: SpeechEncoder, tasks: Mapping[str, TaskData]
) -> int:
    """Give the updates in which the task with most batches has so many epochs.

    Args:
        epochs: of it.
        settings: of the run; `accumulate` is that of all processes together.
        encoder: says what utterances cost.
        tasks: name → task with its utterances.
    """
    several = len(tasks) > 1 or settings.rehearsal_share > 0
    most = 0
    for name, data in tasks.items():
        order = task_order(settings, encoder, data, order_seed(settings, name, several))
        whole = sum(len(order.epoch(number)) for number in range(int(epochs)))
        part = epochs % 1
        most = max(most, whole + (math.ceil(part * len(order.epoch(int(epochs)))) if part else 0))
    batches = most * len(tasks) / (1 - settings.rehearsal_share)
    return math.ceil(batches / settings.accumulate)
