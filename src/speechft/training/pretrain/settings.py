"""Settings of `speechft pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from speechft.core.artifact import Input, Neutral, file_id
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import PathText, Settings, Shown
from speechft.data.identity import DataName
from speechft.encoders.identity import EncoderName, encoder_id, refuse_absent_here
from speechft.training.optimisers import Optimiser
from speechft.training.precision import Precision
from speechft.training.pretrain.defaults import MASKED, continues, with_defaults
from speechft.training.schedule import ScheduleName
from speechft.training.trackers import Log

ObjectiveName = Literal["masked-prediction", "contrastive", "reconstruction"]


def init_id(name: str) -> str:
    """Give the identity of what a run begins with: an ENCODER, or a configuration's file."""
    return encoder_id(name) if continues(name) else file_id(name)


def _look(name: str) -> None:
    if continues(name):
        refuse_absent_here(name)


InitName = Annotated[PathText, Input(init_id, _look)]
# Fields that only some objectives read.
_READ_BY: dict[str, tuple[str, ...]] = {
    "iterations": ("masked-prediction",),
    "fit_seconds": ("masked-prediction",),
    "mixing": ("masked-prediction",),
    "feature_penalty": ("masked-prediction",),
    "steps": ("contrastive", "reconstruction"),
    "learning_rate": ("contrastive", "reconstruction"),
    "quantiser": ("contrastive", "reconstruction"),
    "contrastive": ("contrastive",),
}


class Guide(Settings):
    """A little labelled speech that shapes the units of one iteration.

    A copy of the encoder learns to name the phoneme of every frame; the units are clusters of the
    copy's hidden layer, and the copy is thrown away. Source: supervision-guided codebooks for
    masked prediction (Wang et al. 2022).

    Args:
        steps: updates of the copy.
        seconds: labelled speech, from the start of the split; its cuts need an alignment.
        learning_rate: peak rate.
    """

    steps: int = Field(gt=0)
    seconds: float = Field(gt=0)
    learning_rate: float = Field(default=5e-4, gt=0)


class Iteration(Settings):
    """One clustering, and masked prediction of its units.

    Args:
        steps: optimiser updates.
        clusters: number of units; 500 unless said in a run that goes on.
        layer: hidden layer that is clustered, or `mfcc`; none means MFCCs in a run from a
            configuration, and in one that goes on from an ENCODER the layer three quarters of the
            way up (9 of 12).
        learning_rate: peak rate; 1e-4 unless said in a run that goes on from an ENCODER.
        smooth: frames (an odd number) over which features are averaged before clustering, after
            each utterance was normalised to mean 0 and deviation 1; 0 leaves a layer as it is.
        guide: labelled speech that shapes the units; none for units without any label.
        teacher: ENCODER whose hidden layer is clustered, as WavLM Base took its units from HuBERT;
            none for the encoder that is trained.
    """

    steps: int = Field(gt=0)
    clusters: int = Field(default=100, gt=1)
    layer: int | Literal["mfcc"] | None = None
    learning_rate: float = Field(default=5e-4, gt=0)
    smooth: int = Field(default=0, ge=0)
    guide: Guide | None = None
    teacher: EncoderName | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Iteration:
        if self.smooth and self.smooth % 2 == 0:
            raise ValueError("smooth must be 0 or an odd number of frames")
        if self.guide and not isinstance(self.layer, int):
            raise ValueError("a guide needs the hidden layer whose states are clustered (layer)")
        if self.teacher and not isinstance(self.layer, int):
            raise ValueError("a teacher needs the hidden layer whose states are clustered (layer)")
        if self.teacher and self.guide:
            raise ValueError("units come from a teacher or from a guided copy, not from both")
        return self


class Quantiser(Settings):
    """The codebooks of contrastive pre-training and of reconstruction.

    Args:
        groups: codebooks; one entry is chosen from each.
        entries: of each codebook.
        width: of the chosen entries side by side; a multiple of `groups`.
        temperatures: first and last of the Gumbel softmax; between them it falls by a factor per
            update, over 70 % of the updates.
        diversity: weight of the loss that keeps all entries in use.
        spread: standard deviation of the first weights that choose entries.
    """

    groups: int = Field(default=2, gt=0)
    entries: int = Field(default=320, gt=1)
    width: int = Field(default=256, gt=0)
    temperatures: tuple[float, float] = (2.0, 0.5)
    diversity: float = Field(default=0.1, ge=0)
    spread: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Quantiser:
        if self.width % self.groups:
            raise ValueError("width must be a multiple of groups")
        first, last = self.temperatures
        if not first >= last > 0:
            raise ValueError("temperatures must be above 0 and must not rise")
        return self


class ContrastiveSettings(Settings):
    """What only contrastive pre-training has; the defaults are those of wav2vec 2.0 Base.

    Args:
        negatives: other masked frames of the utterance that each masked frame is compared with.
        temperature: divides the cosines.
        feature_penalty: weight of the mean square of the CNN front end's output.
        front_end_gradient: factor on the gradient that reaches the CNN front end.
    """

    negatives: int = Field(default=100, gt=0)
    temperature: float = Field(default=0.1, gt=0)
    feature_penalty: float = Field(default=10.0, ge=0)
    front_end_gradient: float = Field(default=0.1, ge=0)


class PretrainSettings(Settings):
    """Settings of `speechft pretrain`.

    Args:
        init: ENCODER to go on from, or a configuration to start anew: its keys and values, or a
            YAML or JSON file of them.
        front_end: ENCODER whose CNN front end a run from a configuration begins with; none for
            random weights.
        data: DATA: a table, cuts, NAME:ROOT, or synthetic[:PRESET[@LANGUAGE]].
        split: which split; none means `pretrain` where there is one, else `train`.
        objective: `masked-prediction` of units (HuBERT, WavLM), `contrastive` (wav2vec 2.0), or
            `reconstruction` of filter banks (DeCoAR 2.0). None means masked prediction where there
            are iterations, else the family's own.
        iterations: of masked prediction, in order; each has its own updates and rate.
        layer: hidden layer to cluster, or `mfcc`, of masked prediction's only iteration.
        clusters: number of units of the same.
        teacher: ENCODER whose layer is clustered in the same.
        steps: updates of the other objectives, or of masked prediction's only iteration.
        learning_rate: peak rate of the same; 1e-4 unless said in a run that goes on from an
            ENCODER.
        schedule: of the learning rate: `warmup-decay` unless said, or `stable` in a run that goes
            on from an ENCODER.
        freeze_front_end: whether the CNN front end stays as it is; so unless said in a run that
            goes on from an ENCODER (`--no-freeze-front-end` trains it).
        head_warmup: share of the updates that train the head alone (0.1 unless said in a run that
            goes on from an ENCODER, else 0).
        quantiser: the codebooks of the other objectives.
        contrastive: what only the contrastive objective has.
        accumulate: batches per update, of each process with which the run begins.
        seconds: speech in one batch, in seconds; 87.5 unless said in a run that goes on, as in
            HuBERT Base on each of 32 GPUs.
        max_seconds: longest utterance that is taken: attention over T frames needs memory as T
            times T.
        unmasked_weight: weight of the loss on unmasked frames (0 for the other objectives, and in a
            run that goes on, unless said).
        feature_penalty: weight of the mean square of a trained CNN front end's output, of masked
            prediction (10 unless said in a run that goes on, as in HuBERT).
        mask_share: share of the frames that masked spans would cover if none overlapped (0.65 for
            the other objectives unless said).
        mask_span: frames in a span.
        mixing: share of the utterances that get a part of another utterance, or noise, on top
            (0.2 in WavLM).
        fit_seconds: speech that the k-means is fitted on.
        dev_seconds: speech that the dev loss is of; where there is no split for it, it is from the
            first twentieth of the utterances, which is held out (nothing if this is 0).
        evaluate_every: updates between dev losses (0: at the end only).
        save_every: updates between resumable states.
        cache_gb: memory for features of a frozen CNN front end.
        seed: the run's seed.
        precision: `auto`, `no` (float32) or `bf16`, which a processor that only emulates it
            computes in float32.
        threads: of numerical libraries on a CPU; the last bits of the result depend on them.
        optimiser: `adam`, or `adam-8bit` with moments in 8 bits, a quarter of their memory (needs
            the extra `8bit`).
        checkpointing: compute what is inside of a layer again on the way back, in the place of
            keeping it: a fraction of the memory, a third more time, the same result.
        shard: of several processes, each keeps a piece of every layer's weights, gradients and
            moments (FSDP), in the place of all: the same result, less memory, more to send.
        log: where figures are shown beside `metrics.jsonl`: `tensorboard` (in the run's folder),
            `wandb`, `trackio` or `none`.
        out: the run's folder.
    """

    init: Annotated[InitName | dict[str, Any], Shown]
    data: Annotated[DataName, Shown]
    out: Annotated[Path, Neutral, Shown]
    front_end: Annotated[EncoderName | None, Shown] = None
    iterations: tuple[Iteration, ...] = ()
    layer: Annotated[int | Literal["mfcc"] | None, Shown] = None
    clusters: Annotated[int | None, Shown] = None
    teacher: Annotated[EncoderName | None, Shown] = None
    split: str | None = None
    objective: Annotated[ObjectiveName | None, Shown] = None
    steps: Annotated[int | None, Shown] = Field(default=None, gt=0)
    learning_rate: Annotated[float, Shown] = Field(default=5e-4, gt=0)
    quantiser: Quantiser = Quantiser()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    schedule: Annotated[ScheduleName, Shown] = "warmup-decay"
    freeze_front_end: Annotated[bool, Shown] = False
    head_warmup: Annotated[float, Shown] = Field(default=0.0, ge=0, lt=1)
    seconds: float = Field(default=14.0, gt=0)
    accumulate: int = Field(default=1, gt=0)
    max_seconds: Annotated[float, Neutral, Shown] = Field(default=LONGEST_SECONDS, gt=0)
    feature_penalty: float = Field(default=0.0, ge=0)
    unmasked_weight: float = Field(default=0.5, ge=0)
    mask_share: float = Field(default=0.8, gt=0, lt=1)
    mask_span: int = Field(default=10, gt=0)
    mixing: Annotated[float, Shown] = Field(default=0.0, ge=0, le=1)
    fit_seconds: float = Field(default=3600.0, gt=0)
    dev_seconds: float = Field(default=120.0, ge=0)
    evaluate_every: int = Field(default=1000, ge=0)
    save_every: Annotated[int, Neutral] = Field(default=1000, gt=0)
    cache_gb: Annotated[float, Neutral] = Field(default=4.0, ge=0)
    seed: Annotated[int, Shown] = 0
    precision: Precision = "auto"
    threads: int = Field(default=2, gt=0)
    optimiser: Optimiser = "adam"
    checkpointing: Annotated[bool, Neutral] = False
    shard: Annotated[bool, Neutral] = False
    log: Annotated[Log, Neutral, Shown] = "tensorboard"

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, values: Any) -> Any:
        return with_defaults(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _fits_the_objective(self) -> PretrainSettings:
        if self.shard and self.optimiser == "adam-8bit":
            raise ValueError("shard is not for optimiser adam-8bit: layers must be whole there")
        if self.front_end and continues(self.init):
            raise ValueError("front_end is of no use to a run that goes on from an ENCODER")
        objective = self.objective or (MASKED if self.iterations else None)
        if objective is None:
            if not self.steps:
                raise ValueError("pre-training needs steps, or iterations of masked prediction")
            return self
        for name, readers in _READ_BY.items():
            default = type(self).model_fields[name].get_default(call_default_factory=True)
            if objective not in readers and getattr(self, name) != default:
                raise ValueError(f"{name} is of no use to the objective {objective}")
        needed = "iterations" if objective == MASKED else "steps"
        if not getattr(self, needed):
            raise ValueError(f"the objective {objective} needs {needed}")
        return self

    @property
    def version(self) -> int:
        """Of what makes the result; raised when batches are made otherwise."""
        return 2 if self.dev_seconds else 3
