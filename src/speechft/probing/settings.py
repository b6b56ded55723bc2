"""Settings of `speechft evaluate`, and suites: lists of tasks whose scores can be compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from speechft.core.artifact import (
    Artifact,
    FileInput,
    Input,
    Neutral,
    dependencies,
    file_id,
    hash_values,
)
from speechft.core.errors import SettingsError
from speechft.core.launch_settings import DaskSettings, Launcher
from speechft.core.limits import LONGEST_SECONDS
from speechft.core.settings import Listed, Option, PathText, Positional, Settings, Shown
from speechft.data.identity import DataName
from speechft.encoders.identity import (
    Context,
    EncoderName,
    EncodingPrecision,
    encoder_id,
    is_sweep_folder,
    refuse_absent_here,
)
from speechft.merging.alpha import check_range, number_text
from speechft.tasks import check_data, data_of, parse_data

RESULTS: Final = "results.jsonl"  # one record per result
CLASSES: Final = "classes.json"  # confusion matrices, and every class by itself
GRID: Final = "grid.jsonl"  # the whole grid
VERSION: Final = 5  # raise it when the same settings would give other results


def source_id(name: str) -> str:
    """Give the identity of an ENCODER, or of a sweep: what that is made of, how, and its points.

    Raises:
        CheckpointError: nothing is there.
    """
    if not is_sweep_folder(name):
        return encoder_id(name)
    from speechft.merging.methods import METHODS
    from speechft.merging.sweep import read_sweep

    sweep = read_sweep(Path(name))
    revision = METHODS[str(sweep.options.get("method", "linear"))].revision
    parents = [encoder_id(one.path) for one in (sweep.base, *sweep.tuned)]
    statistics = [file_id(one.path) for one in sweep.statistics]
    made = [parents, statistics, sweep.fixed, sweep.options, sweep.alphas]
    return hash_values(made if revision == 1 else [*made, revision])


SourceName = Annotated[PathText, Input(source_id, refuse_absent_here)]
"""A settings field that names an ENCODER, or a sweep of encoders."""


def _numbers(value: Any) -> Any:
    """Read "pr=500,sid=200" as a number for each task."""
    if not isinstance(value, str) or "=" not in value:
        return value
    parts = [part.partition("=") for part in value.split(",")]
    return {task.strip(): number.strip() for task, _, number in parts}


PerTask = Annotated[int | dict[str, int] | None, BeforeValidator(_numbers)]
Names = Annotated[tuple[str, ...], Listed]
_Grid = Annotated[tuple[float, ...], Listed]
Rates = Annotated[tuple[float, ...] | dict[str, _Grid] | None, Listed]


class EncoderSpec(Settings):
    """An encoder to evaluate: a stored one, or a point between stored ones.

    Args:
        name: its name in the results; by default the path, or `TUNED@ALPHA`.
        path: ENCODER; or a sweep as `speechft merge --alpha 0:1:0.05` writes it, which stands for
            all its points, or with `alpha` for one.
        base: θ0 of an interpolation, ENCODER.
        tuned: θ' of an interpolation, ENCODER.
        alpha: θ0 + alpha · (θ' − θ0), in float32, in memory.
        allow_extrapolation: take an alpha outside of [-2, 2].
        tasks: only these of the evaluation's tasks.
    """

    name: str = ""
    path: SourceName | None = None
    base: EncoderName | None = None
    tuned: EncoderName | None = None
    alpha: float | None = None
    allow_extrapolation: Annotated[bool, Neutral] = False
    tasks: Annotated[tuple[str, ...] | None, Listed] = None

    @model_validator(mode="after")
    def _one_kind(self) -> EncoderSpec:
        stored = self.path is not None and self.base is None and self.tuned is None
        between = self.path is None and None not in (self.base, self.tuned, self.alpha)
        if not stored and not between:
            raise ValueError("give either path, or base with tuned and alpha")
        if self.base and self.alpha is not None and not self.allow_extrapolation:
            check_range([self.alpha])
        return self

    @property
    def label(self) -> str:
        """The encoder's name in the results."""
        source = self.path or self.tuned or ""
        return self.name or source + ("" if self.alpha is None else f"@{number_text(self.alpha)}")

    @property
    def sources(self) -> list[str]:
        """The stored encoders that it is made of."""
        return [s for s in (self.path, self.base, self.tuned) if s is not None]


class EvaluateSettings(Settings):
    """Settings of `speechft evaluate`.

    Args:
        encoders: each an ENCODER (folder, file, Hub id, or packaged name: tiny-hubert, tiny-wavlm,
            tiny-wav2vec2, tiny-decoar2; fbank has no weights), a pair [name, ENCODER], or the
            fields of `EncoderSpec`.
        data: DATA: a table, cuts, NAME:ROOT, or synthetic[:PRESET[@LANGUAGE]],
            with train, dev and test splits; or DATA per task, with `default` for the rest
            (TASK=DATA in a command).
        out: folder of the results.
        tasks: of pr, pc, asr, ks, qbe, sid, asv, sd, ic, sf, er, and on any column of a table
            classify:COLUMN, regress:COLUMN, ctc:COLUMN; commas between.
        seeds: of heads and batches; every seed is a run of its own on the same hidden states.
        head_size: widths of the heads, and how long they are trained: "mini", or "superb" for
            SUPERB's, 30 to 500 times longer. It follows neither data nor encoder, as
            `finetune`'s does: scores of two heads would not compare two encoders.
        steps: updates per probe, one number or one per task (pr=500,sid=200); by default the head
            size's plan.
        batch_size: utterances per update, likewise.
        learning_rates: the grid, one list or one per task; by default the head size's plan.
        normalize: give every frame of every hidden state mean 0 and variance 1 before a probe sums
            them, as S3PRL's `--upstream_feature_normalize` does, where a head reads frames: a
            head for text or phonemes then learns sooner. SUPERB does not.
        checks: how often the dev split is scored in the course of a probe; by default 10 times, or
            as often as S3PRL does.
        suite: label of the scores; scores of different suites are never compared. "mini", "paper4"
            and "superb10" fix tasks, sizes and corpora. By default "mini" where the settings are
            that suite's, and "own" elsewhere.
        protocol: "clean" with exact lengths, or "s3prl" with the quirks of published numbers.
        asr_lm: KenLM file; ASR's test split is then also decoded with it and with `asr_lexicon`.
        asr_lexicon: text file, a word a line as `asr_lm` writes it; behind it its upper-case
            letters and `|`, or nothing.
        on_leak: what to do where a test split holds utterances, or speakers new to the probe, that
            an encoder has heard with labels when it was tuned: "mark" such results, "refuse" them,
            or "drop" these utterances for every encoder.
        select: task → the metric that chooses on dev; by default the task's first one (ASR's is
            WER, of text without spaces between words CER).
        predictions: keep what the chosen probe predicts for each test utterance.
        context: of Whisper's encoders: `30s`, as they were trained, or `utterance`; as they
            say themselves if not given.
        keep_heads: keep the chosen probes' heads beside their scores, for `speechft predict`; those
            of up to 4 MB are kept anyway.
        device: "cpu", "cuda", or "auto" for a GPU where there is one.
        launcher: "local" runs in processes here; with "slurm" and "dask" every encoder, task and
            seed is a job of its own, submitted to SLURM or given to a cluster of dask.distributed.
        slurm: options of the jobs, such as partition, timeout_min, gpus_per_node, mem_gb.
        dask: the cluster: `address` of its scheduler.
        workers: processes that share the work; 0 for one per core or GPU where it pays.
        batch_seconds: seconds of audio per batch when encoding.
        max_seconds: longest utterance that is taken, after a task has cropped it: attention over T
            frames needs memory as T times T.
        precision: of the encoder's passes; `bfloat16` computes them faster, on a GPU and on a CPU
            that has it, and less exactly. Probes are trained in float32 always.
        frame_dtype: type of the kept frames; time means are float32 always.
        store: folder for memory-mapped hidden states, kept for later runs; memory if not given.
        keep: "frames" keeps time means and frames, "pooled" only time means, "none" nothing. What
            is not kept is computed anew, for every batch where it does not fit in memory.
        store_gb: largest size of the hidden states of one encoder, in memory or in the folder.
        cache_gb: memory per process for the CNN front end's output, which encoders share that
            have the same front end.
    """

    encoders: Annotated[tuple[EncoderSpec, ...], Positional] = Field(min_length=1)
    data: Annotated[DataName | dict[str, DataName], Option(repeated=True)]
    out: Annotated[Path, Neutral, Shown]
    tasks: Annotated[Names, Shown] = Field(default=("pr", "sid", "er", "sf"), min_length=1)
    seeds: Annotated[tuple[int, ...], Listed, Option("seed")] = Field(default=(0,), min_length=1)
    head_size: Annotated[Literal["mini", "superb"], Shown] = "mini"
    steps: Annotated[PerTask, Shown] = None
    batch_size: PerTask = None
    learning_rates: Rates = None
    normalize: bool = False
    checks: int | None = Field(default=None, gt=0)
    suite: Annotated[str | None, Shown] = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    protocol: Annotated[Literal["clean", "s3prl"], Shown] = "clean"
    asr_lm: FileInput | None = None
    asr_lexicon: FileInput | None = None
    on_leak: Annotated[Literal["mark", "refuse", "drop"], Shown] = "mark"
    select: dict[str, str] = Field(default_factory=dict)
    predictions: bool = True
    context: Context | None = None
    keep_heads: bool = False
    device: Annotated[str, Neutral, Shown] = "auto"
    launcher: Annotated[Launcher, Neutral, Shown] = "local"
    slurm: Annotated[dict[str, str | int | float | bool], Neutral] = Field(default_factory=dict)
    dask: Annotated[DaskSettings, Neutral] = DaskSettings()
    workers: Annotated[int, Neutral, Shown] = Field(default=0, ge=0)
    batch_seconds: float = Field(default=60.0, gt=0)
    max_seconds: Annotated[float, Neutral, Shown] = Field(default=LONGEST_SECONDS, gt=0)
    precision: Annotated[EncodingPrecision, Shown] = "float32"
    frame_dtype: Literal["float16", "float32"] = "float32"
    store: Annotated[Path | None, Neutral, Shown] = None
    keep: Annotated[Literal["pooled", "frames", "none"], Neutral, Shown] = "frames"
    store_gb: Annotated[float, Neutral] = Field(default=4.0, gt=0)
    cache_gb: Annotated[float, Neutral] = Field(default=2.0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fill_from_suite(cls, values: Any) -> Any:
        suite = SUITES.get(str(values.get("suite"))) if isinstance(values, dict) else None
        if suite is None:
            return values
        given = {key: value for key, value in values.items() if value is not None}
        return {"tasks": suite.tasks, "head_size": suite.head_size, **given}

    @field_validator("data", mode="before")
    @classmethod
    def _data_per_task(cls, value: Any) -> Any:
        return parse_data(value) if isinstance(value, list | tuple) else value

    @field_validator("encoders", mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str | dict):
            value = [value]
        return [as_spec(item) for item in value] if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _distinct(self) -> EvaluateSettings:
        for what, names in (
            ("encoder", [spec.label for spec in self.encoders]),
            ("task", list(self.tasks)),
            ("seed", list(self.seeds)),
        ):
            twice = [name for i, name in enumerate(names) if name in names[:i]]
            if twice:
                raise ValueError(f"the {what} {twice[0]!r} is given twice")
        for task in self.select:
            if task not in self.tasks:
                raise ValueError(f"select names the task {task!r}, which is not evaluated")
        unknown = {t for s in self.encoders for t in s.tasks or ()} - set(self.tasks)
        if unknown:
            raise ValueError(f"an encoder asks for the task {min(unknown)!r} that is not in tasks")
        return self

    @model_validator(mode="after")
    def _whole(self) -> EvaluateSettings:
        if isinstance(self.data, dict):
            check_data(self.data, self.tasks)
        if self.suite in SUITES:
            problems = SUITES[self.suite].problems(self)
            if problems:
                raise ValueError(f"this is not the suite {self.suite}: " + "; ".join(problems))
        if (self.asr_lm is None) != (self.asr_lexicon is None):
            raise ValueError("asr_lm and asr_lexicon belong together: give both or none")
        if self.asr_lm is not None:
            from speechft.tasks import TASKS

            takers = [task for task, kind in TASKS.items() if kind.takes_language_model]
            if not set(takers) & set(self.tasks):
                named = " or ".join(map(repr, takers))
                raise ValueError(f"asr_lm is given, but the task {named} is not in tasks")
        if str(self.store) in ("frames", "pooled", "none"):
            raise ValueError(f"store names a folder; {self.store} is said by keep")
        return self

    def data_of(self, task: str) -> str:
        """Give the DATA of a task."""
        return data_of(self.data, task)

    def data_names(self) -> dict[str, str]:
        """Give the name of each task's data."""
        return {task: data_name(self.data_of(task)) for task in self.tasks}

    @property
    def label(self) -> str:
        """The suite that the scores carry."""
        return self.suite or ("own" if SUITES["mini"].problems(self) else "mini")

    def tasks_of(self, spec: EncoderSpec) -> list[str]:
        """Give the tasks that an encoder is evaluated on, in the evaluation's order."""
        return [t for t in self.tasks if spec.tasks is None or t in spec.tasks]

    def language_model_files(self) -> tuple[Path, ...]:
        """Give lexicon and language model; nothing where there are none."""
        return tuple(path for path in (self.asr_lexicon, self.asr_lm) if path)

    def refuse_missing_files(self) -> None:
        """Look for language model and lexicon.

        Raises:
            SettingsError: a file is missing.
        """
        for key, path in (("asr_lm", self.asr_lm), ("asr_lexicon", self.asr_lexicon)):
            if path is not None and not path.is_file():
                raise SettingsError("no such file", where=key, found=path, hint="check the path")


def data_name(spec: str) -> str:
    """Give what results call a DATA: a corpus or a preset, or the last part of a path."""
    if ":" in spec:
        from speechft.data.data_names import named_kind
        from speechft.data.load import corpus_name

        kind, spec = named_kind(spec)
        if kind == "synthetic":
            return f"{kind}:{spec}"
        if name := corpus_name(kind, spec, "@"):
            return name
    return "synthetic:demo" if spec == "synthetic" else spec.rstrip("/").rpartition("/")[2]


def as_spec(item: Any) -> Any:
    """Give the fields of an `EncoderSpec` for an ENCODER or a pair [name, ENCODER]."""
    if isinstance(item, str | Path):
        return {"path": str(item)}
    if isinstance(item, list | tuple) and len(item) == 2:
        return {"name": str(item[0]), "path": str(item[1])}
    return item


@dataclass(frozen=True)
class Suite:
    """What an evaluation must do for its scores to carry a suite's name.

    Attributes:
        name: the label.
        title: for people.
        tasks: its tasks, in the order of the tables.
        head_size: of heads and plans.
        data: names of the data that serve all its tasks; none where each task has its own corpora
            and official test set.
        reference: the set of `metrics.superb.REFERENCES` for SUPERB_S; none where it has no sense.
            Where there is one, further tasks may stand beside all of the suite's: none of them
            counts in the score.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    head_size: str
    data: tuple[str, ...] = ()
    reference: str | None = None

    def corpora(self, task: str) -> tuple[str, ...]:
        """Give the names of the data that serve a task."""
        from speechft.tasks import TASKS

        return self.data or TASKS[task].corpora

    def problems(self, settings: EvaluateSettings) -> list[str]:
        """Say what in an evaluation's settings is not this suite."""
        whole = self.reference is not None and set(self.tasks) <= set(settings.tasks)
        others = [task for task in settings.tasks if task not in self.tasks and not whole]
        found = [f"the task {task!r} is not one of {', '.join(self.tasks)}" for task in others[:1]]
        if settings.head_size != self.head_size:
            found.append(f"head_size must be {self.head_size!r}")
        for key in ("steps", "batch_size", "checks"):
            if getattr(settings, key) is not None:
                found.append(f"{key} is fixed")
        if settings.normalize:
            found.append("its probes read hidden states as they are, without normalize")
        if named := sorted(set(settings.select) & set(self.tasks)):
            found.append(f"what chooses on dev is fixed, without select.{named[0]}")
        for task, name in settings.data_names().items():
            if task in self.tasks and name not in self.corpora(task):
                wanted = " or ".join(self.corpora(task))
                found.append(f"the data of {task!r} must be {wanted}, not {name!r}")
        return found


SUITES: Final[dict[str, Suite]] = {
    suite.name: suite
    for suite in (
        Suite(
            name="mini",
            title="short probes on the package's synthetic speech",
            tasks=("pr", "asr", "sid", "ic", "sf", "er"),
            head_size="mini",
            data=("synthetic:demo",),
        ),
        Suite(
            name="paper4",
            title="the four SUPERB tasks of the Speech-FT paper",
            tasks=("pr", "sid", "er", "sf"),
            head_size="superb",
            reference="speech-ft",
        ),
        Suite(
            name="superb10",
            title="the ten tasks of SUPERB",
            tasks=("pr", "asr", "ks", "qbe", "sid", "asv", "sd", "ic", "sf", "er"),
            head_size="superb",
            reference="superb-published",
        ),
    )
}


def reference_of(suite: str, tasks: Collection[str]) -> str | None:
    """Give the reference set of a suite's SUPERB_S, where all of its tasks were measured."""
    known = SUITES.get(suite)
    return known.reference if known is not None and set(tasks) >= set(known.tasks) else None


def is_official(suite: str, task: str, items: int) -> bool | None:
    """Tell whether a test set has the official number of items; None where that is not known."""
    from speechft.tasks import TASKS

    has_official = suite in SUITES and not SUITES[suite].data and task in SUITES[suite].tasks
    known = TASKS[task].official_items if has_official else None
    return None if known is None else known == items


def evaluate_artifact(
    settings: EvaluateSettings, known: Mapping[str, str] | None = None
) -> Artifact:
    """Give the folder of the results, with all that they depend on.

    Args:
        settings: of the evaluation.
        known: name of an encoder or of data → identity, where it is still to be made.
    """
    from speechft.tasks import TASKS

    versions = {task: version_of(task, settings.protocol) for task in settings.tasks}
    depends = {**dependencies(settings, known), "versions": versions}
    if all(TASKS[task].pooled for task in settings.tasks):
        depends.pop("normalize", None)  # no head reads frames
    return Artifact(settings.out, "evaluate", depends, settings=settings)


def version_of(task: str, protocol: Literal["clean", "s3prl"]) -> int:
    """Give the version of what makes a task's results."""
    from speechft.tasks import TASKS

    return VERSION + TASKS[task].revisions.get(protocol, 0)
