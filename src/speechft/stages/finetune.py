"""`speechft finetune`: stage 1 of Speech-FT, and the baselines it is compared with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from speechft.core.errors import DataError, MissingSplitError
from speechft.core.files import atomic_path, hash_json, write_json
from speechft.core.logging import get_logger
from speechft.core.provenance import claim, is_done, write_provenance
from speechft.core.seeding import derive_seed, seed_everything
from speechft.core.settings import Settings
from speechft.data.batching import DurationBatches
from speechft.data.sources import load_data
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.metrics.directions import better
from speechft.tasks import TASKS, Task
from speechft.training.adapters import add_adapters, merge_adapters
from speechft.training.finetuning import FineTuning
from speechft.training.freezing import FreezePlan
from speechft.training.front_end_cache import FrontEndCache
from speechft.training.loop import LoopSettings, Precision, Progress, train
from speechft.training.penalties import L2SP
from speechft.training.schedule import ScheduleName, make_schedule
from speechft.training.waveforms import Waveforms

log = get_logger(__name__)

Method = Literal["stable", "regular", "l2sp", "lora", "dora"]


@dataclass(frozen=True)
class Recipe:
    """What a method does unless a setting says otherwise."""

    head_warmup: float
    freeze_front_end: bool
    schedule: ScheduleName


STABLE = Recipe(head_warmup=0.1, freeze_front_end=True, schedule="stable")
RECIPES: dict[str, Recipe] = {
    "stable": STABLE,
    "regular": Recipe(head_warmup=0.0, freeze_front_end=False, schedule="constant"),
    "l2sp": STABLE,
    "lora": STABLE,
    "dora": STABLE,
}


class FinetuneSettings(Settings):
    """Settings of `speechft finetune`; the defaults are the paper's where it gives them.

    Args:
        encoder: ENCODER, θ0.
        task: fine-tuning task (`asr`, `pr`, `sid`, `er`, …).
        data: DATA.
        out: the run's folder.
        method: `stable` (Speech-FT), `regular` (everything moves from the first update at a
            constant rate), `l2sp`, `lora`, `dora` (each on the stable recipe).
        steps: optimiser updates N.
        learning_rate: Adam's peak rate.
        clip: bound on the global gradient norm.
        seconds: speech in one batch, in seconds.
        accumulate: batches per update.
        head_size: `superb` (the paper's sizes) or `mini` (for tiny encoders).
        head_warmup, freeze_front_end, schedule: override what the method says.
        l2sp_strength: weight of the pull towards θ0.
        adapter_rank, adapter_scale, adapter_targets: LoRA's and DoRA's settings.
        evaluate_every: updates between evaluations on dev (0: at the end only).
        save_every: updates between resumable states.
        cache_gb: memory for features of the frozen CNN front end.
        seed: the run's seed.
        precision: `auto`, `no` (float32) or `bf16`.
    """

    encoder: str
    task: str
    data: str
    out: Path
    method: Method = "stable"
    steps: int = Field(default=10_000, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    clip: float = Field(default=1.0, gt=0)
    seconds: float = Field(default=64.0, gt=0)
    accumulate: int = Field(default=1, gt=0)
    head_size: Literal["superb", "mini"] = "superb"
    head_warmup: float | None = Field(default=None, ge=0, lt=1)
    freeze_front_end: bool | None = None
    schedule: ScheduleName | None = None
    l2sp_strength: float = Field(default=0.01, ge=0)
    adapter_rank: int = Field(default=16, gt=0)
    adapter_scale: float = Field(default=32.0, gt=0)
    adapter_targets: tuple[str, ...] = ()
    evaluate_every: int = Field(default=500, ge=0)
    save_every: int = Field(default=500, gt=0)
    cache_gb: float = Field(default=4.0, ge=0)
    seed: int = 0
    precision: Precision = "auto"

    @property
    def recipe(self) -> Recipe:
        """The method's recipe with this run's overrides."""
        base = RECIPES[self.method]
        return Recipe(
            base.head_warmup if self.head_warmup is None else self.head_warmup,
            base.freeze_front_end if self.freeze_front_end is None else self.freeze_front_end,
            self.schedule or base.schedule,
        )


def finetune(settings: FinetuneSettings) -> Path:
    """Fine-tune an encoder on one task; resumes a run that was stopped.

    Returns:
        The run's folder: `encoder/` (θ', the last one), `encoder-best/` (best on dev),
        `head.safetensors`, `task.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/`.

    Raises:
        SettingsError: unknown task or method setting.
        DataError: the data lacks a split or the labels that the task needs.
        CheckpointError: the encoder cannot be loaded.
    """
    plain = settings.model_dump(mode="json", exclude={"out"})
    task_kind = TASKS[settings.task]
    seed_everything(settings.seed)
    encoder = load_encoder(settings.encoder)
    start = encoder.fingerprint()
    cuts, dev = read_cuts(task_kind, settings.data)
    task = task_kind.from_cuts(cuts)
    inputs = {"encoder": start, "utterances": _content([*cuts, *dev])}
    claim(settings.out, stage="finetune", settings={**plain, **inputs})
    if is_done(settings.out, stage="finetune", settings=plain):
        log.info("finetune: already done in %s", settings.out)
        return settings.out
    run = Run(settings, encoder, task, cuts, dev)
    run.train()
    run.finish()
    write_provenance(
        settings.out,
        stage="finetune",
        settings=plain,
        parents={"encoder": start},
        encoder=encoder.fingerprint(),
        utterances=len(cuts),
        hours=round(sum(run.source.durations[: len(cuts)]) / 3600, 3),
    )
    return settings.out


def _content(cuts: Sequence[Any]) -> str:
    """Hash ids, times and labels; not the audio, which may be terabytes."""
    rows = [[c.id, c.start, c.duration, [s.to_dict() for s in c.supervisions]] for c in cuts]
    return hash_json(rows)[:16]


def read_cuts(kind: type[Task], spec: str) -> tuple[list[Any], list[Any]]:
    """Give the cuts to train on and those to evaluate on meanwhile (possibly none).

    Where all splits are there the task arranges them as it does for probing.

    Raises:
        DataError: the data cannot be read, or has nothing to train on.
    """
    data = load_data(spec)
    with suppress(MissingSplitError):
        (_, cuts), (_, dev), *_ = kind.arrange(data)
        return cuts, dev
    train_name, dev_name, _ = kind.splits if kind.splits[0] in data else Task.splits
    if train_name not in data:
        found = ", ".join(sorted(data)) or "no split"
        raise DataError("there is no split to train on", where=spec, expected="train", found=found)
    return list(data[train_name]), list(data.get(dev_name, []))


class Run:
    """The parts of one fine-tuning run, put together from its settings."""

    def __init__(
        self,
        settings: FinetuneSettings,
        encoder: SpeechEncoder,
        task: Task,
        cuts: list[Any],
        dev: list[Any],
    ) -> None:
        self.settings, self.encoder, self.task = settings, encoder, task
        self.count, self.dev_cuts = len(cuts), dev
        recipe = settings.recipe
        everything = [*cuts, *dev]
        self.source: FrontEndCache | Waveforms
        if recipe.freeze_front_end:
            limit = int(settings.cache_gb * 2**30)
            self.source = FrontEndCache(encoder, everything, limit)
        else:
            self.source = Waveforms(everything)
        torch.manual_seed(derive_seed(settings.seed, "head"))
        head = task.build_head(encoder.hidden_size, purpose="finetune", size=settings.head_size)
        self.objective = self._objective(head, [task.target(cut) for cut in cuts], recipe)

    def _objective(self, head: nn.Module, targets: Sequence[Tensor], recipe: Recipe) -> FineTuning:
        settings, penalty, movable = self.settings, None, None
        if settings.method == "l2sp":
            penalty = L2SP(self.encoder.encoder_parameters(), settings.l2sp_strength)
        if settings.method in ("lora", "dora"):
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
            movable = [p for n, p in self.encoder.model.named_parameters() if "lora_" in n]
        plan = FreezePlan(settings.steps, recipe.head_warmup, recipe.freeze_front_end)
        return FineTuning(self.encoder, head, self.task, targets, plan, self._dev, penalty, movable)

    def train(self) -> None:
        """Do the updates that are left."""
        settings = self.settings
        loop = LoopSettings(
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            clip=settings.clip,
            accumulate=settings.accumulate,
            evaluate_every=settings.evaluate_every,
            save_every=settings.save_every,
            seed=settings.seed,
            precision=settings.precision,
        )
        batches = DurationBatches(
            self.source.durations[: self.count],
            settings.seconds,
            derive_seed(settings.seed, "order"),
        )
        schedule = make_schedule(settings.recipe.schedule, settings.steps)
        write_json(settings.out / "task.json", self.task.to_dict())
        train(self.objective, batches, self.source, schedule, loop, settings.out, self._keep_best)

    def finish(self) -> None:
        """Write θ' and the head; where nothing was evaluated, the last encoder is the best."""
        out = self.settings.out
        self._plain_encoder().save(out / "encoder")
        if not (out / "encoder-best").exists():
            self._plain_encoder().save(out / "encoder-best")
        with atomic_path(out / "head.safetensors") as temporary:
            state = {n: t.detach().cpu() for n, t in self.objective.head.state_dict().items()}
            save_file(state, temporary)

    def _dev(self) -> Sequence[tuple[list[Tensor], list[Any]]]:
        durations = self.source.durations[self.count :]
        if not durations:
            return []
        ordered = DurationBatches(durations, self.settings.seconds, 0, shuffle=False).epoch(0)
        result = []
        for batch in ordered:
            items = self.source.load([self.count + i for i in batch])
            result.append((items, [self.task.reference(self.dev_cuts[i]) for i in batch]))
        return result

    def _keep_best(self, update: int, figures: dict[str, float], progress: Progress) -> None:
        if not figures:
            return
        name = self.task.metrics[0]
        value = figures[name]
        log.info("update %d: dev %s %.2f", update, name, value)
        if progress.best is None or better(name, value, than=progress.best):
            progress.best = value
            self._plain_encoder().save(self.settings.out / "encoder-best")

    def _plain_encoder(self) -> SpeechEncoder:
        if self.settings.method not in ("lora", "dora"):
            return self.encoder
        merged = copy.deepcopy(self.encoder)
        merge_adapters(merged)
        return merged
