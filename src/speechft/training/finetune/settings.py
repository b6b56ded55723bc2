"""Settings of `speechft finetune`, and what its methods stand for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from speechft.core.artifact import Input, Neutral
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import Listed, Option, PathText, Settings, Shown
from speechft.data.identity import DataName, NoiseName
from speechft.encoders.identity import Context, EncoderName
from speechft.tasks import check_data, data_of, parse_data
from speechft.training.finetune.continued_run import ADAPTERS, said_by, state_id
from speechft.training.optimisers import Optimiser
from speechft.training.precision import Precision
from speechft.training.schedule import ScheduleName
from speechft.training.trackers import Log

if TYPE_CHECKING:
    from speechft.tasks import Task

LAST: Final = "encoder"
BEST: Final = "encoder-best"
EMA: Final = "encoder-ema"
AVERAGE: Final = "encoder-average"
Take = Literal["best", "last", "ema", "average"]
TAKEN: Final[dict[str, str]] = {"best": BEST, "last": LAST, "ema": EMA, "average": AVERAGE}
"""What a merge may take of a run → its folder."""

HeadSize = Literal["superb", "mini", "linear"]
Method = Literal["stable", "regular", "l2sp", "lora", "dora", "replay"]
Guarding = Literal["off", "warn", "stop"]


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
    "replay": STABLE,
}
Decibels = Annotated[float, Field(ge=-40, le=80)]
RunName = Annotated[PathText, Input(state_id)]
# First letters of settings that some methods alone read.
_OWN = {"l2sp_": ("l2sp",), "adapter_": ADAPTERS}
_PASSES, _FEWEST, _MOST, _MOST_TINY = 30, 100, 10_000, 2_000
_RARELY: Final = 500  # updates between evaluations on dev
_WIDE: Final = 512
_UNITS = ("layer", "clusters", "warmup", "unmasked_weight")
_OF_UNITS = {f"rehearsal_{name}" for name in _UNITS}  # which replay has none of


class FinetuneSettings(Settings):
    """Settings of `speechft finetune`; the defaults are the paper's where it gives them.

    Args:
        encoder: ENCODER, θ0: folder, file, Hub id, or packaged name (tiny-hubert, tiny-wavlm,
            tiny-wav2vec2, tiny-decoar2).
        task: fine-tuning task (`asr`, `pr`, `pc`, `sid`, `er`, `ic`, `ks`, `sf`, …), or several
            with commas between: they take turns batch by batch, each with a head of its own. On
            any column of a table: `classify`, `regress`, `ctc`, with `label`.
        label: the column of `classify`, `regress` or `ctc`; `task` may name it, too
            (`classify:COLUMN`).
        tokens: the column of `ctc` holds symbols with spaces between, not characters
            (`ctc:COLUMN:tokens`).
        data: DATA: a table, cuts, NAME:ROOT, or synthetic[:PRESET[@LANGUAGE]]; or DATA per task of
            several, with `default` for the rest (TASK=DATA in a command).
        context: of Whisper's encoder: `30s`, as it was trained, or `utterance`, which costs a
            fraction where utterances are short; as it says itself if not given. θ' keeps it.
        hours: of its speech to train on, drawn utterance by utterance; all if not given.
        out: the run's folder.
        method: `stable` (Speech-FT), `regular` (everything moves from the first update at a
            constant rate), `l2sp`, `lora`, `dora`, `replay` (each on the stable recipe).
        preset: `paper` takes what this run does not say from the paper's release, or where that is
            silent from SUPERB's configurations: updates and utterances per batch of the task,
            float32, no activation dropout, class-balanced KS (docs/finetuning.md has the table).
        steps: optimiser updates N; if not given, as many as thirty passes over the training speech
            take, at least 100 and at most 10,000 (2,000 for tiny encoders). It is said before
            training, and kept in the run's record.
        epochs: passes over the training speech, in the place of `steps`; of several tasks, over
            the speech of the one with most batches.
        patience: evaluations on dev without a better one after which the run ends; the schedule of
            the learning rate is that of all updates. It goes on to the end if not given.
        continued: RUN, a fine-tuning that has ended: this one begins with its last weights, its
            optimiser and its place in the data, and takes from it what is not said here; θ0 is
            its θ0, the schedule is that of the updates of this run, without a head warm-up.
        learning_rate: Adam's peak rate.
        head_learning_rate: that of the heads; the same if not given. A CTC head on an encoder that
            bears no more than 1e-4 needs 1e-3 to learn anything but the blank.
        clip: bound on the global gradient norm.
        optimiser: `adam`, or `adam-8bit` with moments in 8 bits, a quarter of their memory (needs
            the extra `8bit`).
        seconds: speech in one batch, in seconds; no bound if none, as with `batch_size` alone.
        batch_size: most utterances in one batch.
        balanced: draw the training utterances so that all classes are equally frequent; of several
            tasks, those of every task that has classes.
        activation_dropout: within the feed-forward layers in training; the encoder's own if not
            given (0.1 in the Hub's configurations of HuBERT Base, 0.0 where fairseq trained it).
        accumulate: batches per update, of each process with which the run begins.
        micro_batch: seconds of speech, padding included, that go through the encoder at once: a
            batch is cut into pieces whose gradients add up to its own. `auto` measures what memory
            bears; the record says it, and a run that goes on keeps it. Not cut if not given.
        checkpointing: compute what is inside of a layer again on the way back, in the place of
            keeping it: a fraction of the memory, a third more time, the same result.
        shard: of several processes, each keeps a piece of every layer's weights, gradients and
            moments (FSDP), in the place of all: the same result, less memory, more to send.
        max_seconds: longest utterance that is taken: attention over T frames needs memory as T
            times T.
        head_size: `superb` (the paper's sizes), `mini` (for tiny encoders) or `linear` (CTC and
            classes: a head that transformers has, too); if not given, `superb`, or `mini` for tiny
            encoders, whose hidden states have less than 512 dimensions.
        spec_augment: whether the last hidden state is augmented in training, as the paper's release
            does for ASR: time warp, feature masks, time masks; by default for `asr` and `sf` with
            `head_size: superb`.
        mask_share: share of the frames that masked spans would cover if none overlapped: the mask
            embedding stands in for them behind the front end, in training. For families that have
            one; Speech-FT masks nothing.
        mask_span: frames in a masked span.
        mask_channels: share of the front end's channels that are zero, in spans of an eighth of
            them, in training.
        speed: factors (`0.9,1.0,1.1`): each utterance is heard at one of them, drawn anew in every
            pass; pitch changes with tempo, and times of labels move along. Dev is as it is.
        noise: a folder of audio files, or DATA, of which pieces are added to utterances in
            training. What a frozen front end makes of them is then computed each time.
        noise_share: of the utterances that get noise.
        noise_snr: ratio of signal to noise in dB; of two (`10,20`) one between is drawn.
        head_warmup: share of the updates that train the head alone; with 1 the encoder stays as it
            is. The method's if not given.
        freeze_front_end: whether the CNN front end stays as it is; the method's if not given.
        schedule: of the learning rate: `stable`, `constant` or `warmup-decay`; the method's if not
            given.
        l2sp_strength: weight of the pull towards θ0.
        adapter_rank: of LoRA's and DoRA's two matrices.
        adapter_scale: LoRA's alpha; the product of the two is multiplied by it over the rank.
        adapter_targets: linear layers that get an adapter: `all`, `attention`, `query-value`,
            `feed-forward`, ends of names or patterns; all if empty.
        select: the metric that chooses the best encoder on dev; the task's first one if not given
            (ASR's is WER, of text without spaces between words CER); for one task alone.
        evaluate_every: updates between evaluations on dev (0: at the end only); if not given, a
            tenth of all, or more where dev would be over a tenth of what is heard; at most 500.
        save_every: updates between resumable states at most; there is one whenever an encoder is
            kept, too.
        cache_gb: memory for features of the frozen CNN front end.
        cache_disk_gb: disk of each process, in the run's folder while it trains, for features that
            memory has no room for.
        seed: the run's seed.
        precision: `auto`, `no` (float32) or `bf16`, which a processor that only emulates it
            computes in float32.
        threads: of numerical libraries on a CPU; the last bits of the result depend on them.
        keep_at: shares of the updates after which the encoder is kept, as `encoder-at-20` (0.2).
        ema: decay of an exponential average of the weights (0.999), which is kept as `encoder-ema`.
        average_last: share of the updates, at the end, over which the weights are averaged; their
            mean is kept as `encoder-average`.
        guard: `warn` or `stop` where θ' collapses: where the hidden states of some utterances are
            no longer like those of θ0 (linear CKA, the mean over all states, at every evaluation:
            `dev_similarity`), or a gradient is far larger than usual.
        guard_similarity: the CKA below which that is so.
        guard_gradient: times the usual norm above which a gradient is too large.
        log: where figures are shown beside `metrics.jsonl`: `tensorboard` (in the run's folder),
            `wandb`, `trackio` or `none`.
        rehearsal_share: share of the batches that go on with pre-training: masked prediction of
            units that k-means finds in a hidden layer of θ0. They are there from the first update
            on, and move the encoder once it moves. With the method `replay` they pull all hidden
            states towards those of θ0 instead, for encoders of every family.
        rehearsal_data: DATA for that; its split `pretrain` if there is one, else `train`.
        rehearsal_seconds: how much of it is used, drawn utterance by utterance.
        rehearsal_layer: the hidden layer; the middle one if not given.
        rehearsal_clusters: number of units.
        rehearsal_warmup: batches on which the unit predictor alone is trained before the first
            update, so that it does not pull the encoder towards where chance has put it.
        rehearsal_unmasked_weight: weight of the loss on frames that are not masked.
    """

    encoder: Annotated[EncoderName, Shown]
    task: Annotated[str, Shown]
    label: Annotated[str | None, Neutral, Shown] = None
    tokens: Annotated[bool, Neutral, Shown] = False
    data: Annotated[DataName | dict[str, DataName], Option(repeated=True)]
    context: Context | None = None
    hours: Annotated[float | None, Shown] = Field(default=None, gt=0)
    out: Annotated[Path, Neutral, Shown]
    method: Annotated[Method, Shown] = "stable"
    preset: Annotated[Literal["paper"] | None, Shown] = None
    steps: Annotated[int | None, Shown] = Field(default=None, gt=0)
    epochs: Annotated[float | None, Shown] = Field(default=None, gt=0)
    continued: Annotated[RunName | None, Option("continue")] = None
    patience: int | None = Field(default=None, gt=0)
    learning_rate: Annotated[float, Shown] = Field(default=1e-4, gt=0)
    head_learning_rate: float | None = Field(default=None, gt=0)
    clip: float = Field(default=1.0, gt=0)
    optimiser: Optimiser = "adam"
    seconds: float | None = Field(default=64.0, gt=0)
    batch_size: int | None = Field(default=None, gt=0)
    balanced: bool = False
    activation_dropout: float | None = Field(default=None, ge=0, lt=1)
    accumulate: int = Field(default=1, gt=0)
    micro_batch: Annotated[float, Field(gt=0)] | Literal["auto"] | None = None
    checkpointing: Annotated[bool, Neutral] = False
    shard: Annotated[bool, Neutral] = False
    max_seconds: Annotated[float, Neutral, Shown] = Field(default=LONGEST_SECONDS, gt=0)
    head_size: Annotated[HeadSize | None, Shown] = None
    spec_augment: bool | None = None
    mask_share: float = Field(default=0.0, ge=0, lt=1)
    mask_span: int = Field(default=10, gt=0)
    mask_channels: float = Field(default=0.0, ge=0, lt=1)
    speed: Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], Listed] = ()
    noise: NoiseName | None = None
    noise_share: float = Field(default=0.5, gt=0, le=1)
    noise_snr: Annotated[tuple[Decibels, ...], Listed] = Field(
        default=(10.0, 20.0), min_length=1, max_length=2
    )
    head_warmup: float | None = Field(default=None, ge=0, le=1)
    freeze_front_end: bool | None = None
    schedule: ScheduleName | None = None
    l2sp_strength: float = Field(default=0.01, ge=0)
    adapter_rank: int = Field(default=16, gt=0)
    adapter_scale: float = Field(default=32.0, gt=0)
    adapter_targets: Annotated[tuple[str, ...], Listed] = ()
    select: str | None = None
    evaluate_every: int | None = Field(default=None, ge=0)
    save_every: Annotated[int, Neutral] = Field(default=500, gt=0)
    cache_gb: Annotated[float, Neutral] = Field(default=4.0, ge=0)
    cache_disk_gb: Annotated[float, Neutral] = Field(default=0.0, ge=0)
    seed: Annotated[int, Shown] = 0
    precision: Precision = "auto"
    threads: int = Field(default=2, gt=0)
    keep_at: Annotated[tuple[float, ...], Listed, Shown] = ()
    ema: float | None = Field(default=None, gt=0, lt=1)
    average_last: float | None = Field(default=None, gt=0, le=1)
    guard: Annotated[Guarding, Neutral] = "off"
    guard_similarity: Annotated[float, Neutral] = Field(default=0.4, gt=0, lt=1)
    guard_gradient: Annotated[float, Neutral] = Field(default=100.0, gt=1)
    log: Annotated[Log, Neutral, Shown] = "tensorboard"
    rehearsal_share: Annotated[float, Shown] = Field(default=0.0, ge=0, lt=1)
    rehearsal_data: Annotated[DataName | None, Shown] = None
    rehearsal_seconds: float = Field(default=3600.0, gt=0)
    rehearsal_layer: int | None = Field(default=None, ge=0)
    rehearsal_clusters: int = Field(default=100, gt=1)
    rehearsal_warmup: int = Field(default=200, ge=0)
    rehearsal_unmasked_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        """Say what a preset and the tasks decide: then it counts for the result."""
        if not isinstance(values, dict):
            return values
        own = {name for name, value in values.items() if value is not None}
        if values.get("continued") is not None:
            values = said_by(str(values["continued"])) | values
            new = cls.model_construct(**values)  # what nobody reads any more is not taken over
            values = {n: v for n, v in values.items() if n in own or not new._readers(n)}
        values = with_columns(values)  # one run has one name, however it was said
        given = {name: value for name, value in values.items() if value is not None}
        preset = given.get("preset")
        size = "superb" if preset and "head_size" not in own else given.get("head_size")
        augment = given.get("spec_augment", size == "superb")
        if preset or augment:
            from speechft.tasks import TASKS

            names = task_names(str(given.get("task")))
            kinds = [TASKS[name] for name in names if name in TASKS]
            if augment and any(kind.spec_augment for kind in kinds):
                given["spec_augment"] = True
            elif given.get("spec_augment") and kinds:
                raise ValueError("spec_augment is for asr and sf: take it away")
            if preset == "paper" and kinds:
                plan = _as_in_the_paper(kinds)
                if "epochs" in given:
                    del plan["steps"]
                given |= {name: value for name, value in plan.items() if name not in own}
        if "batch_size" in given:
            given.setdefault("seconds", None)
        return {**values, **given}

    @field_validator("data", mode="before")
    @classmethod
    def _data_per_task(cls, value: Any) -> Any:
        return parse_data(value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> FinetuneSettings:
        names = task_names(self.task)
        if not names or len(set(names)) != len(names):
            raise ValueError(f"task must name tasks, each once, not {self.task!r}")
        check_data(self.data, names)
        if any(not 0 < share < 1 for share in self.keep_at):
            raise ValueError("keep_at holds shares of the updates, above 0 and below 1")
        if len(set(self.keep_at)) != len(self.keep_at):
            raise ValueError("keep_at holds a share twice")
        if len(set(self.speed)) != len(self.speed) or any(round(s, 2) != s for s in self.speed):
            raise ValueError("speed holds factors, each once, of two digits behind the point")
        if self.select and len(names) > 1:
            raise ValueError("select is for one task; several choose by the mean of their metrics")
        if self.steps and self.epochs:
            raise ValueError("steps and epochs both say how long the run is: give one of them")
        if self.patience and self.evaluate_every == 0:
            raise ValueError("patience counts evaluations: set evaluate_every above 0")
        if self.patience and self.average_last:
            raise ValueError("average_last needs to know the last update: take patience away")
        if self.micro_batch and self.rehearsal_share:
            raise ValueError("micro_batch cuts batches of tasks alone: take rehearsal away")
        if self.shard:
            self._refuse_pieces()
        if (self.rehearsal_share > 0) != (self.rehearsal_data is not None):
            raise ValueError("rehearsal_share and rehearsal_data go together")
        if self.method == "replay" and self.rehearsal_data is None:
            raise ValueError("method replay needs rehearsal_share and rehearsal_data")
        for name, field in type(self).model_fields.items():
            read = self._readers(name)
            if read and getattr(self, name) != field.default:
                raise ValueError(f"{name} is read only {read}: take it away, or change that")
        return self

    def _refuse_pieces(self) -> None:
        wanting = {
            "method l2sp": self.method == "l2sp",
            "rehearsal": self.rehearsal_share,
            "optimiser adam-8bit": self.optimiser == "adam-8bit",
            "micro_batch auto": self.micro_batch == "auto",
        }
        if names := " and ".join(name for name, given in wanting.items() if given):
            raise ValueError(f"shard is not for {names}: layers must be whole there")

    def _readers(self, name: str) -> str:
        """Say what reads a setting that this run does not read; empty for all others."""
        if name == "mask_span" and not self.mask_share:
            return "with mask_share"
        if name.startswith("noise_") and self.noise is None:
            return "with noise"
        if name.startswith("guard_") and self.guard == "off":
            return "with guard"
        for part, methods in _OWN.items():
            if name.startswith(part) and self.method not in methods:
                return f"with method {' or '.join(methods)}"
        if self.method == "replay" and name in _OF_UNITS:
            return "with another method than replay"
        unread = name.startswith("rehearsal_") and self.rehearsal_share == 0
        return "with rehearsal_share and rehearsal_data" if unread else ""

    @property
    def version(self) -> int:
        """Of what makes the result; raised when data, encoder or batches decide otherwise."""
        if self.steps and self.head_size:
            return 2
        return 5 if self.rehearsal_share and not (self.steps or self.epochs) else 4

    def resolved(
        self,
        width: int,
        sizes: Iterable[tuple[int, float]],
        steps: int | None = None,
        dev: float = 0.0,
    ) -> Resolved:
        """Give these settings with what data and encoder say of those that are left open.

        Args:
            width: dimensions of θ0's hidden states.
            sizes: of each task: utterances, and their seconds.
            steps: that the epochs take, where these are given.
            dev: seconds of the dev splits.
        """
        tiny, (seconds, count), sizes = width < _WIDE, self.bounds, list(sizes)
        batches = sum(max(s / seconds, n / count if count else 0.0) for n, s in sizes)
        every = batches / (1 - self.rehearsal_share)  # with those that rehearse
        updates = round(_PASSES * every / self.accumulate / 10) * 10
        steps = self.steps or steps or min(max(updates, _FEWEST), _MOST_TINY if tiny else _MOST)
        heard = sum(s for _, s in sizes) / batches * self.accumulate if batches else seconds
        often = max(math.ceil(steps / 10), math.ceil(10 * dev / heard))
        said = {
            "steps": steps,
            "head_size": "mini" if tiny else "superb",
            "evaluate_every": min(often, _RARELY),
        }
        given = self.model_dump(exclude_unset=True, exclude={"epochs"})
        open_ = {name: value for name, value in said.items() if given.get(name) is None}
        return Resolved.model_validate(given | open_)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order in which they take turns."""
        return task_names(self.task)

    @property
    def kept(self) -> set[str]:
        """Folders of the encoders that a run leaves behind, early ones aside."""
        averages = {EMA: self.ema, AVERAGE: self.average_last}
        return {LAST, BEST, *(name for name, value in averages.items() if value is not None)}

    def data_of(self, task: str) -> str:
        """Give the DATA of a task."""
        return data_of(self.data, task)

    @property
    def bounds(self) -> tuple[float, int | None]:
        """Most seconds and most utterances of a batch."""
        return self.seconds or math.inf, self.batch_size

    @property
    def recipe(self) -> Recipe:
        """The method's recipe with this run's overrides."""
        base = RECIPES[self.method]
        return Recipe(
            base.head_warmup if self.head_warmup is None else self.head_warmup,
            base.freeze_front_end if self.freeze_front_end is None else self.freeze_front_end,
            self.schedule or base.schedule,
        )


class Resolved(FinetuneSettings):
    """Settings that leave nothing to data and encoder."""

    steps: Annotated[int, Shown]
    head_size: Annotated[HeadSize, Shown]
    evaluate_every: int


def _as_in_the_paper(kinds: Sequence[type[Task]]) -> dict[str, Any]:
    """Give what the paper's release, or else SUPERB, says for tasks; of several the largest."""
    plans = [kind.tuning() for kind in kinds]
    found = {name: max(getattr(p, name) for p in plans) for name in vars(plans[0])}
    if any(kind.scheme == "balanced" for kind in kinds):
        found["balanced"] = True
    return {**found, "head_size": "superb", "precision": "no", "activation_dropout": 0.0}


def task_names(text: str) -> tuple[str, ...]:
    """Give the tasks that a setting names, with commas between."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def with_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a fine-tuning's plain values with `label` and `tokens` said by `task`.

    Raises:
        ValueError: they belong to none of the tasks.
    """
    label, tokens = values.get("label"), values.get("tokens") in (True, "true")
    if "task" not in values or (label is None and not tokens):
        return dict(values)
    from speechft.tasks import name_columns

    names = name_columns(task_names(str(values["task"])), label, tokens=tokens)
    return {**values, "task": ",".join(names), "label": None, "tokens": False}


def folder_name(tasks: Iterable[str]) -> str:
    """Give the name in folders of a fine-tuning on tasks: `pr-sid`."""
    from speechft.tasks import file_stem

    return "-".join(map(file_stem, tasks))


def early_name(share: float) -> str:
    """Give the folder of the encoder after a share of the updates: 0.2 → `encoder-at-20`.

    All digits of the share count, so that two shares have two folders.
    """
    return f"{LAST}-at-{(Decimal(repr(share)) * 100).normalize():f}"
