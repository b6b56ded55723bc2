"""The verbs: the table of stages, and the functions of the Python API that are made from it.

`speechft.finetune(encoder=…, …)` takes the fields of its settings class, or the settings as a
whole; signature and docstring come from that class.
"""

from __future__ import annotations

import functools
import importlib
import operator
from pathlib import Path
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

if TYPE_CHECKING:
    from speechft.analysis.settings import AnalyzeSettings
    from speechft.core.settings import Settings
    from speechft.encoders.inspect import Inspection
    from speechft.encoders.settings import ConvertSettings, InspectSettings
    from speechft.merging.settings import MergeSettings
    from speechft.prediction.settings import EmbedSettings, PredictSettings
    from speechft.probing.settings import EvaluateSettings
    from speechft.reporting.leaderboard.ranking import Leaderboard
    from speechft.reporting.settings import LeaderboardSettings, PushSettings, ReportSettings
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.pretrain.settings import PretrainSettings

    S = TypeVar("S", bound=Settings, contravariant=True)
    R = TypeVar("R", covariant=True)

    class Called(Protocol[S, R]):
        """A verb as type checkers see it."""

        def __call__(self, settings: S | Path | str | None = None, /, **values: Any) -> R:
            """Do it."""

    analyze: Called[AnalyzeSettings, Path]
    convert: Called[ConvertSettings, Path]
    embed: Called[EmbedSettings, Path]
    evaluate: Called[EvaluateSettings, Path]
    finetune: Called[FinetuneSettings, Path]
    inspect: Called[InspectSettings, Inspection]
    leaderboard: Called[LeaderboardSettings, Leaderboard]
    merge: Called[MergeSettings, Path]
    predict: Called[PredictSettings, list[dict[str, Any]]]
    pretrain: Called[PretrainSettings, Path]
    push: Called[PushSettings, str]
    report: Called[ReportSettings, Path]


class Verb(NamedTuple):
    """A stage.

    Attributes:
        settings: its settings class, as "module:name" inside of the package.
        call: the function that takes them.
        about: what it does.
        returns: what the function gives.
        example: a command line.
    """

    settings: str
    call: str
    about: str
    returns: str
    example: str


VERBS: Final = {
    "pretrain": Verb(
        "training.pretrain.settings:PretrainSettings",
        "training.pretrain.stage:pretrain",
        "Pre-train an encoder on audio without labels, or continue its pre-training.",
        "The run's folder; `encoder/` in it holds the encoder.",
        "speechft pretrain --init tiny-hubert --data synthetic:languages@es \\\n"
        "    --steps 1000 --out runs/es",
    ),
    "finetune": Verb(
        "training.finetune.settings:FinetuneSettings",
        "training.finetune.stage:finetune",
        "Fine-tune an encoder on one task, or on several at once; stage 1 of Speech-FT.",
        "The run's folder; `encoder/` in it holds the finetuned encoder θ'.",
        "speechft finetune --encoder tiny-hubert --task sid --data synthetic \\\n"
        "    --steps 600 --out runs/sid",
    ),
    "merge": Verb(
        "merging.settings:MergeSettings",
        "pipeline.merge:merge",
        "Merge a base encoder with one or more fine-tuned ones; stage 2 of Speech-FT.",
        "The folder of the merged encoder θ̂.",
        "speechft merge facebook/hubert-base-ls960 runs/sid --alpha 0.25 --out merged",
    ),
    "evaluate": Verb(
        "probing.settings:EvaluateSettings",
        "pipeline.parallel_evaluation:evaluate",
        "Probe frozen encoders on tasks: a small head on all hidden states, as SUPERB does.",
        "The folder with `results.jsonl`.",
        "speechft evaluate tiny-hubert runs/sid --data synthetic:demo --out scores\n"
        "speechft evaluate me/hubert --tasks pr,er --data pr=librispeech:LS \\\n"
        "    --data er=iemocap:IE --out scores",
    ),
    "analyze": Verb(
        "analysis.settings:AnalyzeSettings",
        "analysis.stage:analyze",
        "Say how far encoders have moved from θ0: in their weights, and in their hidden states.",
        "The folder with `analysis.jsonl`, `analysis.md` and `similarity.png`.",
        "speechft analyze tiny-hubert runs/sid merged --data synthetic:demo --out moved",
    ),
    "report": Verb(
        "reporting.settings:ReportSettings",
        "reporting.stage:report",
        "Compare runs: one page with words, table and figures.",
        "The path of `report.html`.",
        "speechft report runs/demo --out runs/demo",
    ),
    "leaderboard": Verb(
        "reporting.settings:LeaderboardSettings",
        "reporting.leaderboard.stage:leaderboard",
        "Rank encoders measured on one suite, beside published rows.",
        "The rows, best first.",
        "speechft leaderboard runs/hubert runs/mine --out leaderboard.md",
    ),
    "inspect": Verb(
        "encoders.settings:InspectSettings",
        "encoders.inspect:inspect",
        "Show what a checkpoint holds, and what a merge would do with it.",
        "What it holds.",
        "speechft inspect hubert_base_ls960.pt",
    ),
    "convert": Verb(
        "encoders.settings:ConvertSettings",
        "prediction.export:convert",
        "Write an encoder in another format; every tensor stays bit for bit the same.",
        "The file or folder that was written.",
        "speechft convert hubert_base_ls960.pt hubert-base --to hf\n"
        "speechft convert runs/asr recogniser --to hf-head",
    ),
    "predict": Verb(
        "prediction.settings:PredictSettings",
        "prediction.predict:predict",
        "Say what the head on an encoder hears in recordings of any length.",
        "A record per recording: its file, and text, phonemes, label, turns or value; or `error`.",
        "speechft predict runs/asr meeting.wav clips/ --out texts.jsonl",
    ),
    "embed": Verb(
        "prediction.settings:EmbedSettings",
        "prediction.embed:embed",
        "Write the hidden states of audio files, in batches of similar duration.",
        "The file that was written.",
        "speechft embed tiny-hubert recordings/ --out states.safetensors --layer 4",
    ),
    "push": Verb(
        "reporting.settings:PushSettings",
        "reporting.push:push",
        "Upload an encoder with its card and provenance to the Hugging Face Hub.",
        "The address of the commit.",
        "speechft push merged me/hubert-base-speech-ft",
    ),
}


def load(where: str) -> Any:
    """Import what "module:name" inside of the package names."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(f"speechft.{module}"), name)


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, _function(name, VERBS[name]))


def _function(name: str, verb: Verb) -> Any:
    """Make the function of a verb, with the signature and the docstring of its settings."""
    from inspect import Parameter, Signature

    from speechft.core.settings import descriptions, parse_settings

    kind = load(verb.settings)
    fields = kind.model_fields

    def call(settings: Any = None, /, **values: Any) -> Any:
        if isinstance(settings, kind):
            settings, values = None, {**settings.model_dump(exclude_unset=True), **values}
        if settings is not None:
            values = {next(iter(fields)): settings, **values}
        return load(verb.call)(parse_settings(kind, values, where=f"speechft.{name}"))

    said = "\n".join(f"    {key}: {text}" for key, text in descriptions(kind).items())
    call.__doc__ = (
        f"{verb.about}\n\nArgs:\n    settings: all settings as `{kind.__name__}`, or the first of "
        f"them alone.\n{said}\n\nReturns:\n    {verb.returns}\n\n"
        "Raises:\n    SettingsError: a setting is unknown or wrong.\n"
    )
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    optional = [
        Parameter(
            key,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty
            if field.is_required()
            else field.get_default(call_default_factory=True),
            annotation=_plain(field.annotation),
        )
        for key, field in fields.items()
    ]
    first = Parameter("settings", Parameter.POSITIONAL_ONLY, default=None)
    vars(call)["__signature__"] = Signature([first, *optional])
    return call


def _plain(hint: Any) -> Any:
    """Give a type without the marks that only settings read."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    inner = tuple(_plain(one) for one in get_args(hint))
    if not inner or get_origin(hint) is Literal:
        return hint
    if get_origin(hint) in (Union, UnionType):
        return functools.reduce(operator.or_, inner)
    origin: Any = get_origin(hint)
    return origin[inner]


def run(
    recipe: Path | str,
    out: Path | str | None = None,
    overrides: tuple[str, ...] = (),
    *,
    redo: bool = False,
    launcher: str = "local",
    workers: int = 0,
) -> Path:
    """Run a recipe; what is done is skipped, what was stopped goes on.

    Args:
        recipe: a YAML file, or the name of a packaged recipe ("demo").
        out: the run's folder; `runs/NAME` if not given.
        overrides: `key.sub=value` changes to the recipe; `slurm.…` and `dask.…` are for the
            launcher.
        redo: replace trainings of other settings, too; all else is replaced unasked.
        launcher: who does the steps: "local", "slurm" or "dask".
        workers: processes; 0 or 1 for this one alone.

    Returns:
        The run's folder, with `report.html` in it.

    Raises:
        SettingsError: the recipe is wrong; all its mistakes are listed at once.
    """
    from speechft.core.launch_settings import read_launch
    from speechft.pipeline.recipe import stage

    launch, rest = read_launch(overrides, launcher=launcher, workers=workers)
    folder = None if out is None else Path(out)
    return stage.run(stage.load_recipe(recipe, rest), folder, redo, launch)


def study(
    *studies: Path | str,
    out: Path | str = "runs/studies",
    overrides: tuple[str, ...] = (),
    launcher: str = "local",
    workers: int = 0,
    threads: int = 1,
) -> list[Path]:
    """Compare many encoders over seeds; what is done is kept, what was stopped goes on.

        speechft.study("supervised", "baselines", out="runs/studies")

    Args:
        studies: YAML files, or names of files in the folder `studies`.
        out: folder of all studies, which share their stages.
        overrides: `key.sub=value` changes to each of them; `slurm.…` and `dask.…` are for the
            launcher.
        launcher: who does the jobs: "local", "slurm" or "dask".
        workers: processes; 0 for one per core.
        threads: of each process.

    Returns:
        The folder of each study, with `report.md` and `measurements.jsonl` in it.

    Raises:
        SettingsError: a study is wrong; all its mistakes are listed at once.
        SpeechFTError: jobs failed; the message names them, and the others are done.
    """
    from speechft.core.launch_settings import read_launch
    from speechft.pipeline.study import stage

    given = {"launcher": launcher, "workers": workers, "threads": threads}
    launch, rest = read_launch(overrides, **given)
    return stage.study([stage.load_study(one, rest) for one in studies], Path(out), launch)
