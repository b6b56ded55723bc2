"""One run of fine-tuning, put together from its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial, reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import CheckpointError
from speechft.core.files import write_json
from speechft.core.heard import Heard
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.data.augmentation import Noise
from speechft.data.batching import DurationBatches, padding
from speechft.data.cuts import heard_samples, heard_seconds, said_cut
from speechft.data.identity import audio_keys, heard_in
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.encoders.identity import heard_of
from speechft.encoders.layers import set_activation_dropout
from speechft.heads.spec_augment import SpecAugment
from speechft.hidden.decode_ahead import Waveforms
from speechft.hidden.front_end_cache import FeatureFile, FrontEndCache, KeptFeatures
from speechft.tasks import file_stem, refuse_unreachable
from speechft.tasks.kept_head import HeadRecord, write_head
from speechft.training.adapters import Coverage, add_adapters
from speechft.training.averaging import Average, exponential, over_the_last
from speechft.training.batch_stream import EpochBatches
from speechft.training.distributed import all_processes, on_main
from speechft.training.finetune.batch_order import order_seed, task_order
from speechft.training.finetune.collapse_guard import HEARD, SIMILARITY, Guard
from speechft.training.finetune.continued_run import ADAPTERS, refuse_other_classes
from speechft.training.finetune.data import Chosen, NoisyWaveforms, Pool, TaskData
from speechft.training.finetune.feature_replay import FeatureReplay
from speechft.training.finetune.kept_encoders import Keeper
from speechft.training.finetune.masking import InputMask
from speechft.training.finetune.objective import FineTuning, Part, TaskPart
from speechft.training.finetune.rehearsal import make_rehearsal
from speechft.training.finetune.settings import AVERAGE, EMA, LAST, Resolved
from speechft.training.finetune.task_mixing import TakingTurns, Turn
from speechft.training.freezing import FreezePlan
from speechft.training.loop import Hooks, Loop, LoopSettings, Progress
from speechft.training.penalties import L2SP
from speechft.training.schedule import make_schedule
from speechft.training.sharding import gather, in_pieces

REHEARSAL = "rehearsal"
_OF_LOOP = {"steps", "learning_rate", "clip", "accumulate", "evaluate_every", "save_every"}
_OF_LOOP |= {"seed", "precision", "head_learning_rate", "log", "micro_batch", "optimiser"}
log = get_logger(__name__)


class Run:
    """The parts of one fine-tuning run.

    Args:
        settings: of the run.
        encoder: θ0; it becomes θ'.
        tasks: name → task with its utterances, in the order in which they take turns.
        rehearsed: utterances of pre-training, where some are rehearsed.
        kept: front-end features that further runs in this process share.
    """

    def __init__(
        self,
        settings: Resolved,
        encoder: SpeechEncoder,
        tasks: dict[str, TaskData],
        rehearsed: Sequence[Cut] = (),
        kept: KeptFeatures | None = None,
    ) -> None:
        self.settings, self.encoder, self.tasks = settings, encoder, tasks
        pool = self._pool = Pool()
        heard = {name: data.spoken(settings.speed) for name, data in tasks.items()}
        self._spoken = {name: pool.add(cuts) for name, cuts in heard.items()}
        if rehearsed:
            self._spoken[REHEARSAL] = pool.add(rehearsed)
        self._held_out = {name: pool.add(data.dev) for name, data in tasks.items()}
        set_activation_dropout(encoder, settings.activation_dropout)
        if settings.checkpointing:
            encoder.recompute_layers()
        self.parts = self._make_parts(heard, rehearsed)
        self.coverage = self._adapt()
        self.trained = in_pieces(encoder) if settings.shard else encoder
        self.source: FrontEndCache | Waveforms
        # What is replayed has features of θ0's own front end, which another run may have moved.
        own = settings.continued is not None and settings.method == "replay"
        if settings.recipe.freeze_front_end and not own:
            kept = kept if settings.cache_gb > 0 else None
            limit = int(settings.cache_gb * 2**30)
            keys = [] if kept is None else audio_keys(pool.cuts)
            disk = int(settings.cache_disk_gb * 2**30)
            file = FeatureFile(settings.out, disk) if disk else None
            self.source = FrontEndCache(self.trained, pool.cuts, limit, kept, keys, file)
        else:
            self.source = Waveforms(pool.cuts)
        self.keeper = Keeper(
            settings.out,
            encoder,
            {name: data.task for name, data in tasks.items()},
            adapted=self.coverage is not None,
            steps=settings.steps,
            shares=settings.keep_at,
            heads=self._write_heads,
            heard=self._heard(),
            dev=self._heard_in(lambda data: data.dev),
            patience=settings.patience,
            collect=lambda: gather(self.trained, encoder),
            tune=lambda: self.objective.tune(),
        )
        self._noisy = self._make_noisy()
        self.averages = self._make_averages()
        self.guard = self._make_guard()
        self.objective = self._objective()

    @property
    def utterances(self) -> int:
        """Number of utterances of the tasks."""
        return sum(len(data.cuts) for data in self.tasks.values())

    @property
    def hours(self) -> float:
        """Their length."""
        return sum(sum(map(heard_seconds, data.cuts)) for data in self.tasks.values()) / 3600

    def train(self) -> Progress:
        """Do the updates that are left; give where the run stands then."""
        settings = self.settings
        loop = LoopSettings(
            **settings.model_dump(include=_OF_LOOP),
            # Every part's loss shall be seen, whatever the rhythm of their turns.
            log_every=LoopSettings.log_every if len(self.parts) == 1 else 1,
        )
        of_30s = self.encoder.context == "30s"
        why = ": each utterance is padded to 30 s (context=utterance does not)" if of_30s else ""
        log.info("%.1f %% of the batches of a pass is padding%s", 100 * self.padding, why)
        places = [place for own in self._spoken.values() for place in own]
        of_tasks = sum(len(self._spoken[name]) for name in self.tasks)
        seconds = self.source.durations
        return Loop(
            self.objective,
            self._batches(),
            Chosen(self.source, places, self._noisy, of_tasks),
            make_schedule(settings.recipe.schedule, settings.steps),
            loop,
            settings.out,
            Hooks(
                self._updated,
                self._evaluated,
                self._taken_over,
                self.keeper.last_good,
                name=lambda index: str(self._pool.cuts[places[index]].id),
                averages=self.averages,
                longest=max(range(len(places)), key=lambda index: seconds[places[index]]),
            ),
            Path(settings.continued) if settings.continued else None,
        ).run()

    @cached_property
    def padding(self) -> float:
        """Share of the batches of the first pass that is padding."""
        own = [second for name in self._spoken for second in self._durations(name)]
        return padding(self._batches().epoch(0), own, self.encoder.costs(own))

    def _updated(self, progress: Progress) -> None:
        if isinstance(self.source, FrontEndCache):
            progress.asked += self.source.asked
            progress.served += self.source.served
            self.source.asked = self.source.served = 0
        self.keeper.early(progress)
        if self.guard is not None:
            self.guard.feel(progress)

    def _evaluated(self, figures: dict[str, float], progress: Progress) -> None:
        self.keeper.best({n: v for n, v in figures.items() if n != SIMILARITY}, progress)
        if self.guard is not None:
            self.guard.look(figures, progress)

    def _taken_over(self) -> None:
        """Refuse a state of other weights than those whose history the other run's encoder has.

        Adapters may have been merged on another device: then sums differ a little.
        """
        run = Path(str(self.settings.continued))
        for name, data in self.tasks.items():
            refuse_other_classes(data.task, run, f"task{self._suffix(name)}.json")
        if not (run / LAST).is_dir():
            return  # its history is not known, then
        wanted = load_encoder(run / LAST).model.state_dict()
        self.keeper.collect()
        found = self.keeper.merged().model.state_dict()
        if not all(_is_close(found[name], wanted[name]) for name in wanted):
            raise CheckpointError(
                "the run's last state is not that of its encoder",
                where=run,
                expected=f"a state that leads to {run / LAST}",
                hint="give the encoder whose training shall go on as --encoder",
            )

    def finish(self, progress: Progress) -> list[str]:
        """Write θ', the heads and what their outputs stand for; give the names of all products."""
        for average in self.averages:
            with average.in_place(self.objective.module):
                self.keeper.keep(average.name, progress)
        products = [*self.keeper.last(progress), "metrics.jsonl"]
        on_main(self._write_tasks)
        for name in self.tasks:
            own = self._suffix(name)
            products += [f"head{own}.safetensors", f"task{own}.json"]
        return products

    def _write_tasks(self) -> None:
        self._write_heads(self.settings.out, self.keeper.fingerprint)
        for name, data in self.tasks.items():
            task = f"task{self._suffix(name)}.json"
            write_json(self.settings.out / task, data.task.to_dict())

    def _write_heads(self, folder: Path, encoder: str) -> None:
        """Write every task's head; `encoder` is the fingerprint of what they stand on."""
        for name, data in self.tasks.items():
            record = HeadRecord(
                task=data.task.to_dict(),
                purpose="finetune",
                size=self.settings.head_size,
                width=self.encoder.hidden_size,
                encoder=encoder,
            )
            head = f"head{self._suffix(name)}"
            weights = self.parts[head].head.state_dict()
            write_head(folder / f"{head}.safetensors", weights, record)

    def _make_averages(self) -> tuple[Average, ...]:
        settings, found = self.settings, []
        if settings.ema is not None:
            found.append(Average(EMA, exponential(settings.ema)))
        if settings.average_last is not None:
            found.append(Average(AVERAGE, over_the_last(settings.average_last, settings.steps)))
        return tuple(found)

    def _make_noisy(self) -> NoisyWaveforms | None:
        settings = self.settings
        if settings.noise is None:
            return None
        noise, share = Noise(settings.noise), settings.noise_share
        log.info(
            "%d recordings of noise, in %.0f %% of what is heard: what the front end makes of that "
            "is computed each time (cache_gb serves dev and rehearsal alone)",
            *(len(noise.cuts), 100 * share),
        )
        waveforms = Waveforms(self._pool.cuts)
        return NoisyWaveforms(waveforms, noise, share, settings.noise_snr, settings.seed)

    def _make_guard(self) -> Guard | None:
        """Let θ0 be remembered by a few utterances, those of dev where there are any."""
        settings = self.settings
        if settings.guard == "off":
            return None
        places = [
            p for own in (self._held_out, self._spoken) for name in self.tasks for p in own[name]
        ][:HEARD]
        self.trained.to(all_processes().device)  # training moves it there only later
        # Not from the cache: another run's state, taken over later, may have another front end.
        items = Waveforms([self._pool.cuts[place] for place in places]).load(range(len(places)))
        least, most = settings.guard_similarity, settings.guard_gradient
        return Guard(settings.guard, self.trained, items, settings.out, least, most)

    def _heard(self) -> Heard:
        """Give what θ' has heard with labels: what θ0 has, and all that its tasks train on."""
        found = heard_of(self.settings.encoder)
        if self.settings.continued:
            found |= heard_of(f"{self.settings.continued}/{LAST}")
        if self.settings.recipe.head_warmup >= 1:  # the encoder stays as it is
            return found
        return found | self._heard_in(lambda data: data.cuts)

    def _heard_in(self, part: Callable[[TaskData], Sequence[Cut]]) -> Heard:
        own = self.tasks.items()
        return reduce(or_, (heard_in(part(data), self.settings.data_of(n)) for n, data in own))

    def _suffix(self, name: str) -> str:
        """Tell the files of several tasks apart."""
        return f"-{file_stem(name)}" if len(self.tasks) > 1 else ""

    def _said(self, task: str, number: int) -> str:
        """Name an utterance that is trained on, counted as `TaskData.spoken` does."""
        cuts, speeds = self.tasks[task].cuts, self.settings.speed
        at = f" at speed {speeds[number // len(cuts)]:g}" if speeds else ""
        return said_cut(cuts[number % len(cuts)]) + at

    def _make_parts(
        self, heard: Mapping[str, Sequence[Cut]], rehearsed: Sequence[Cut]
    ) -> dict[str, Part]:
        settings, parts = self.settings, dict[str, Part]()
        self.unreachable = 0
        for name, data in self.tasks.items():
            own = (name,) if len(self.tasks) > 1 else ()
            torch.manual_seed(derive_seed(settings.seed, "head", *own))
            width, size = self.encoder.hidden_size, settings.head_size
            data.task.hop = self.encoder.hop
            head = data.task.build_head(width, purpose="finetune", size=size)
            targets = [data.task.target(cut) for cut in heard[name]]
            samples = torch.tensor([heard_samples(cut) for cut in heard[name]])
            self.encoder.refuse_long(samples, partial(self._said, name))
            frames = self.encoder.frame_lengths(samples).tolist()
            self.unreachable += refuse_unreachable(data.task, frames, targets)
            parts[f"head{self._suffix(name)}"] = TaskPart(
                head,
                data.task,
                targets,
                partial(self._dev, name),
                name if own else "",
                SpecAugment() if settings.spec_augment and data.task.spec_augment else None,
            )
        if rehearsed and settings.method == "replay":
            parts["replay"] = FeatureReplay(self.encoder, len(rehearsed))
        elif rehearsed:
            parts["predictor"] = make_rehearsal(settings, self.encoder, rehearsed)
        return parts

    def _adapt(self) -> Coverage | None:
        """Put adapters into the encoder where the method asks for them."""
        settings = self.settings
        if settings.method not in ADAPTERS:
            return None
        coverage = add_adapters(
            self.encoder,
            "lora" if settings.method == "lora" else "dora",
            rank=settings.adapter_rank,
            scale=settings.adapter_scale,
            targets=settings.adapter_targets,
        )
        log.info(
            "%s covers %d of %d linear layers (%.0f %%), %d parameters",
            settings.method,
            len(coverage.adapted),
            coverage.linear,
            coverage.share,
            coverage.parameters,
        )
        return coverage

    def _objective(self) -> FineTuning:
        settings, encoder = self.settings, self.trained
        frozen = settings.recipe.freeze_front_end
        penalty: Callable[[], Tensor] | None = None
        if settings.method == "l2sp":
            front = {} if frozen else encoder.front_end_parameters()
            penalty = L2SP(encoder.encoder_parameters() | front, settings.l2sp_strength)
        movable = None
        if self.coverage is not None:
            movable = [p for n, p in encoder.model.named_parameters() if "lora_" in n]
        plan = FreezePlan(settings.steps, settings.recipe.head_warmup, frozen)
        masking = None
        if settings.mask_share or settings.mask_channels:
            masking = InputMask(settings.mask_share, settings.mask_span, settings.mask_channels)
        watch = dict if self.guard is None else self.guard.similarity
        return FineTuning(encoder, self.parts, plan, penalty, movable, masking, watch)

    def _batches(self) -> EpochBatches:
        """Give one task's batches as they are; several parts take turns."""
        turns: dict[str, Turn] = {}
        first = 0
        for name, places in self._spoken.items():
            seed = order_seed(self.settings, name, len(self._spoken) > 1)
            turns[name] = Turn(self._order(name, seed), first)
            first += len(places)
        if len(turns) == 1:
            return turns.popitem()[1].batches
        rehearsal = turns.pop(REHEARSAL, None)
        return TakingTurns(list(turns.values()), rehearsal, self.settings.rehearsal_share)

    def _order(self, name: str, seed: int) -> EpochBatches:
        if name in self.tasks:
            return task_order(self.settings, self.encoder, self.tasks[name], seed)
        costs, (seconds, items) = self.encoder.costs(self._durations(name)), self.settings.bounds
        return DurationBatches(costs, seconds, seed, max_items=items)

    def _durations(self, name: str) -> list[float]:
        return [self.source.durations[place] for place in self._spoken[name]]

    def _dev(self, name: str) -> Sequence[tuple[list[Tensor], list[Any]]]:
        """Give a task's dev split in batches, the short ones first."""
        places, data = self._held_out[name], self.tasks[name]
        if not places:
            return []
        costs = self.encoder.costs(self.source.durations[place] for place in places)
        result = []
        seconds, most = self.settings.bounds
        for batch in DurationBatches(costs, seconds, 0, False, most).epoch(0):
            items = self.source.load([places[i] for i in batch])
            result.append((items, [data.task.reference(data.dev[i]) for i in batch]))
        return result


def _is_close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.detach().cpu().float(), other.float(), rtol=1e-3, atol=1e-5)
