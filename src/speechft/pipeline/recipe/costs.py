"""What a run costs on a GPU, by rates that were measured on one (an NVIDIA H100, HuBERT Base).

`results/benchmarks/superb-gpu.json` and `encode-gpu.json` hold what was measured. Trainings of that
size were not: an update counts as three passes over its batch, forwards and backwards, in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from speechft.data.corpora import corpora
from speechft.data.sources import named_kind
from speechft.pipeline.graph import Job
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import PretrainSettings

KEPT: Final = 333.0
"""Hours of audio that are read from a disk, decoded and encoded in an hour."""
PASSES: Final = 2060.0
"""Seconds of audio that are encoded in a second, without reading it."""
UPDATE: Final = 3.0
PROBE: Final[Mapping[str, tuple[float, int]]] = {
    "pr": (0.036263, 5),
    "asr": (0.78572, 3),
    "ks": (0.0053162, 5),
    "sid": (0.0047421, 5),
    "asv": (0.08901, 3),
    "sd": (0.18492, 3),
    "ic": (0.0052527, 5),
    "sf": (0.23517, 3),
    "er": (5 * 0.0046451, 5),  # of five folds
}
"""Task → seconds of one update of all probes of a grid, and how many these are."""
USUAL_SECONDS: Final = 8.0  # of an utterance of data that says nothing of itself
USUAL_HOURS: Final = 10.0


def gpu_hours(step: Job, scale: float = 1.0) -> float:
    """Estimate the hours that a step takes on one GPU.

    Args:
        step: of a plan.
        scale: of the encoder, in parameters of HuBERT Base.
    """
    settings = step.settings
    if isinstance(settings, EvaluateSettings):
        return sum(_evaluating(settings, task) for task in settings.tasks) + _encoding(settings)
    if isinstance(settings, FinetuneSettings):
        own = settings.data_of(settings.tasks[0])
        seconds = settings.seconds or (settings.batch_size or 1) * mean_seconds(own)
        return (
            (settings.steps or 0) * settings.accumulate * seconds * UPDATE * scale / PASSES / 3600
        )
    if isinstance(settings, PretrainSettings):
        updates = settings.steps or sum(one.steps for one in settings.iterations)
        units = len(settings.iterations) * hours_of(settings.data) / KEPT
        return updates * settings.seconds * UPDATE * scale / PASSES / 3600 + units
    return 0.0


def _encoding(settings: EvaluateSettings) -> float:
    specs = dict.fromkeys(map(settings.data_of, settings.tasks))
    return len(settings.encoders) * sum(map(hours_of, specs)) / KEPT


def _evaluating(settings: EvaluateSettings, task: str) -> float:
    """Give the hours of a task's probes; what is not kept is encoded for every batch."""
    plan = plan_for(task, settings)
    seconds, rates = PROBE.get(task, (0.0, 1))
    probes = plan.steps * seconds * len(plan.rates) / rates * (settings.head_size == "superb")
    if settings.keep != "frames" and not TASKS[task].pooled:
        heard = plan.steps * plan.batch_size * mean_seconds(settings.data_of(task))
        probes += heard / KEPT
    encoders = sum(task in settings.tasks_of(one) for one in settings.encoders)
    return probes * encoders * len(settings.seeds) / 3600


def hours_of(data: str) -> float:
    """Give the hours of speech that tasks read of DATA, by its corpus, or what is usual."""
    return said_hours(data) or USUAL_HOURS


def said_hours(data: str) -> float:
    """Give the hours of speech of DATA as the makers of its corpus say; 0 where nobody does."""
    name = named_kind(data)[0]
    return corpora()[name].hours if name in corpora() else 0.0


def mean_seconds(data: str) -> float:
    """Give the mean length of an utterance of DATA, by its corpus, or what is usual."""
    name = named_kind(data)[0]
    counts = corpora()[name].counts if name in corpora() else {}
    items = sum(counts.get(split, 0) for split in ("train", "dev", "test"))
    return said_hours(data) * 3600 / items if items else USUAL_SECONDS
