"""What every objective of pre-training goes over, and how: utterances, their order, the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from speechft.core.seeding import derive_seed
from speechft.data.batching import DurationBatches
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end import FrontEndCache, Waveforms
from speechft.training.freezing import FreezePlan
from speechft.training.loop import Hooks, LoopSettings, Objective, Progress
from speechft.training.pretrain.held_encoder import HeldEncoder
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.processes import all_processes
from speechft.training.run_folder import LAST_GOOD

SpeechSource = Waveforms | FrontEndCache


@dataclass(frozen=True)
class Speech:
    """Utterances to learn from and utterances held out, as indices into one source."""

    source: Waveforms
    train: int
    total: int

    def order(
        self, settings: PretrainSettings, name: str, seconds: float | None = None
    ) -> DurationBatches:
        """Give the batches of the first so many seconds of the training part (None: all)."""
        durations = self.source.durations[: self.train]
        if seconds is not None:
            durations = durations[: reached(durations, seconds)]
        seed = derive_seed(settings.seed, "order", name)
        return DurationBatches(durations, settings.seconds, seed)

    def inputs(self, settings: PretrainSettings, encoder: SpeechEncoder) -> SpeechSource:
        """Give what an objective trains on: features where a frozen front end's may be kept.

        Mixing changes the waveforms each time, so that nothing can be kept.
        """
        if not settings.freeze_front_end or settings.mixing:
            return self.source
        return FrontEndCache(encoder, self.source.cuts, int(settings.cache_gb * 2**30))

    def hooks(self, encoder: SpeechEncoder, folder: Path) -> Hooks:
        """Give what a run does beside training, where `folder` is the run's."""

        def on_divergence(progress: Progress) -> None:
            del progress
            if all_processes().is_main_process:
                encoder.save(folder / LAST_GOOD)

        name = {i: str(cut.id) for i, cut in enumerate(self.source.cuts)}
        return Hooks(on_divergence=on_divergence, name=name.__getitem__)

    def held_out(
        self, seconds: float, source: SpeechSource | None = None
    ) -> list[tuple[list[int], list[torch.Tensor]]]:
        """Give the held-out utterances, if any, as batches of indices and what the source loads."""
        if self.total == self.train:
            return []
        order = DurationBatches(self.source.durations[self.train :], seconds, 0, shuffle=False)
        batches = [[self.train + i for i in batch] for batch in order.epoch(0)]
        return [(batch, (source or self.source).load(batch)) for batch in batches]


def reached(durations: Sequence[float], seconds: float) -> int:
    """Give how many utterances from the start it takes to reach so many seconds."""
    ends = np.cumsum(durations)
    return min(len(durations), int(np.searchsorted(ends, seconds)) + 1)


def planned(
    settings: PretrainSettings, objective: Objective, encoder: SpeechEncoder, steps: int
) -> Objective:
    """Give the objective with what the settings freeze, and for how long."""
    if not settings.freeze_front_end and not settings.head_warmup:
        return objective
    plan = FreezePlan(steps, settings.head_warmup, settings.freeze_front_end)
    return HeldEncoder(objective, encoder, plan)


def loop_settings(
    settings: PretrainSettings, steps: int, learning_rate: float, name: str
) -> LoopSettings:
    """Give the loop's settings; `name` seeds it.

    Under the stable schedule the optimiser is that of stable fine-tuning, else pre-training's.
    """
    loop = LoopSettings(
        steps=steps,
        learning_rate=learning_rate,
        evaluate_every=settings.evaluate_every,
        save_every=settings.save_every,
        seed=derive_seed(settings.seed, name),
        precision=settings.precision,
    )
    if settings.schedule == "stable":
        return replace(loop, clip=1.0)
    return replace(loop, clip=10.0, betas=(0.9, 0.98), weight_decay=0.01)
