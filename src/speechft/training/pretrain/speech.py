"""What every objective of pre-training goes over, and how: utterances, their order, the loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.data.batching import DurationBatches
from speechft.encoders import SpeechEncoder
from speechft.hidden.decode_ahead import Waveforms
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.training.distributed import all_processes
from speechft.training.freezing import FreezePlan, set_trainable
from speechft.training.loop import Hooks, Loop, LoopSettings, Progress
from speechft.training.objective import EncoderObjective
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.run_folder import LAST_GOOD
from speechft.training.schedule import make_schedule
from speechft.training.sharding import gather

log = get_logger(__name__)

_OF_LOOP = {"accumulate", "evaluate_every", "save_every", "precision", "log", "optimiser"}
_LOOKED_AT, _SILENCE = 16, 1e-5
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

    def refuse_unlearnable(self, encoder: SpeechEncoder, span: int, where: str) -> None:
        """Refuse speech from which nothing can be learned; warn where that is a part of it.

        Args:
            encoder: gives the frames of an utterance.
            span: frames of a masked span: of an utterance not longer than that nothing is seen.
            where: DATA.

        Raises:
            DataError: no utterance is longer, or there is no sound in any that was looked at.
        """
        seconds = torch.tensor(self.source.durations[: self.train])
        samples = (seconds * SAMPLE_RATE).round().long()
        short = int((encoder.frame_lengths(samples) <= span).sum())
        if short == self.train:
            raise DataError(
                "no utterance is longer than a masked span, so that nothing can be learned",
                where=where,
                expected=f"more than {span} frames of {encoder.hop / 16:g} ms (mask_span)",
                found=f"{float(seconds.max()):.2f} s at most",
                hint="give longer utterances",
            )
        if short:
            log.warning(
                "%d of %d utterances are not longer than a masked span of %d frames: "
                "all of them is masked, and nothing is learned from them",
                *(short, self.train, span),
            )
        looked_at = range(0, self.train, max(1, self.train // _LOOKED_AT))
        if all(float(self.source.load([i])[0].std(correction=0)) < _SILENCE for i in looked_at):
            raise DataError(
                "there is no sound in the utterances that were looked at",
                where=where,
                found=f"{len(looked_at)} of {self.train} utterances, each quieter than -100 dB",
                hint="look at how the audio was recorded or converted",
            )

    def hooks(self, encoder: SpeechEncoder, folder: Path, trained: SpeechEncoder) -> Hooks:
        """Give what a run does beside training, where `folder` is the run's.

        Args:
            encoder: which is kept where training comes to nothing.
            folder: of the run.
            trained: its copy in pieces, or itself.
        """

        def on_divergence(progress: Progress) -> None:
            del progress
            gather(trained, encoder)
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


def freeze_plan(settings: PretrainSettings, steps: int) -> FreezePlan | None:
    """Give what the settings freeze, and for how long; none where everything moves throughout.

    Source: Speech-FT (Lin et al. 2026) continues pre-training by its stable recipe too: the CNN
    front end stays frozen, and the first 10 % of the updates train the head alone.
    """
    if not settings.freeze_front_end and not settings.head_warmup:
        return None
    return FreezePlan(steps, settings.head_warmup, settings.freeze_front_end)


def train_on(
    speech: Speech,
    objective: EncoderObjective,
    source: SpeechSource,
    settings: PretrainSettings,
    steps: int,
    learning_rate: float,
    folder: Path,
    name: str,
    encoder: SpeechEncoder,
) -> Progress:
    """Train an objective's encoder on all speech, and leave all of it able to move.

    Args:
        speech: what is learned from.
        objective: encoder and head.
        source: what it loads, see `Speech.inputs`.
        settings: of the whole run.
        steps: updates.
        learning_rate: peak rate.
        folder: where states and metrics go.
        name: seeds the order of the batches, and what chance does in an update.
        encoder: the objective's, or the whole one that its pieces come from; it is given what was
            learned.
    """
    trained = objective.encoder
    if settings.checkpointing:
        trained.recompute_layers()
    progress = Loop(
        objective,
        speech.order(settings, name),
        source,
        make_schedule(settings.schedule, steps),
        loop_settings(settings, steps, learning_rate, name),
        folder,
        speech.hooks(encoder, folder, trained),
    ).run()
    gather(trained, encoder)
    set_trainable(encoder.parameters(), True)
    return progress


def loop_settings(
    settings: PretrainSettings, steps: int, learning_rate: float, name: str
) -> LoopSettings:
    """Give the loop's settings; `name` seeds it.

    Under the stable schedule the optimiser is that of stable fine-tuning, else pre-training's.
    """
    loop = LoopSettings(
        steps=steps,
        learning_rate=learning_rate,
        seed=derive_seed(settings.seed, name),
        **settings.model_dump(include=_OF_LOOP),
    )
    if settings.schedule == "stable":
        return loop
    return replace(loop, clip=10.0, betas=(0.9, 0.98), weight_decay=0.01)
