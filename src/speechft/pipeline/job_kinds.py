"""The verbs that a job can be: their settings, what they depend on, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from speechft.analysis.alpha.settings import AlphaSettings, alpha_artifact
from speechft.analysis.settings import AnalyzeSettings, analyze_artifact
from speechft.core.artifact import RECORD, Artifact, content_id, dependencies
from speechft.core.errors import SettingsError
from speechft.core.settings import Settings
from speechft.merging.alpha import check_range, is_sweep, parse_alpha
from speechft.merging.methods import METHODS
from speechft.merging.settings import MergeSettings
from speechft.probing.protocol import check_plans
from speechft.probing.settings import CLASSES, GRID, RESULTS, EvaluateSettings, evaluate_artifact
from speechft.reporting.settings import ReportSettings
from speechft.tasks import TASKS
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.pretrain.settings import PretrainSettings

Known = Mapping[str, str] | None


@dataclass(frozen=True)
class Stage:
    """One verb.

    Attributes:
        settings: its settings.
        artifact: gives its folder as what it depends on; the identities of inputs that are still
            to be made may be given.
        clear: removes what other settings have left in its folder.
        encoder: where in its folder the encoder lies that it makes.
        costly: its result is not thrown away without being asked.
    """

    settings: type[Settings]
    artifact: Callable[[Any, Known], Artifact]
    clear: Callable[[Artifact], None]
    encoder: str = ""
    costly: bool = False


def _plain_artifact(verb: str) -> Callable[[Any, Known], Artifact]:
    """Give what makes the artefact of a stage that depends on its settings and inputs alone."""

    def artifact(settings: Any, known: Known = None) -> Artifact:
        version = getattr(settings, "version", 1)
        return Artifact(settings.out, verb, dependencies(settings, known), version, settings)

    return artifact


def _report_artifact(settings: ReportSettings, known: Known = None) -> Artifact:
    """Give a run's report, in the run's folder, as the results and curves that it shows."""
    ids = {str(run): _shown_of(run) for run in settings.runs} if known is None else known
    return Artifact(settings.out, "report", dependencies(settings, ids), settings=settings)


def _shown_of(run: Path) -> str:
    names = ("results.jsonl", "grid.jsonl", "metrics.jsonl")
    files = [file for name in names for file in sorted(run.glob(f"**/{name}"))]
    return content_id({file.relative_to(run).as_posix(): file for file in files})


def _clear_results(artifact: Artifact) -> None:
    """Let an evaluation go; its finished cells stay, since each says itself what it is of."""
    for name in (RECORD, RESULTS, GRID, CLASSES):
        (artifact.folder / name).unlink(missing_ok=True)


def _clear_run(artifact: Artifact) -> None:
    """Let a training go, with the states that it would go on from."""
    from speechft.training.run_folder import files_of_run

    artifact.clear(*files_of_run(artifact.folder))


STAGES: Final[Mapping[str, Stage]] = {
    "pretrain": Stage(
        PretrainSettings,
        _plain_artifact("pretrain"),
        _clear_run,
        "encoder",
        True,
    ),
    "finetune": Stage(
        FinetuneSettings,
        _plain_artifact("finetune"),
        _clear_run,
        "encoder",
        True,
    ),
    "merge": Stage(MergeSettings, _plain_artifact("merge"), Artifact.clear),
    "alpha": Stage(AlphaSettings, alpha_artifact, Artifact.clear),
    "evaluate": Stage(EvaluateSettings, evaluate_artifact, _clear_results),
    "analyze": Stage(AnalyzeSettings, analyze_artifact, Artifact.clear),
    "report": Stage(ReportSettings, _report_artifact, Artifact.clear),
}


def check(settings: Settings, where: str, hint: str) -> None:
    """Look at what is known before anything runs, besides the settings' own rules.

    Args:
        settings: of a stage.
        where: for messages.
        hint: what to do instead of a sweep of merges.

    Raises:
        SettingsError: an unknown task, a plan or a merge that makes no sense.
    """
    try:
        if isinstance(settings, EvaluateSettings):
            check_plans(settings)
        if isinstance(settings, FinetuneSettings):
            for task in settings.tasks:
                TASKS[task]  # an unknown one shows up here
        if isinstance(settings, MergeSettings):
            _check_merge(settings, hint)
    except SettingsError as error:
        raise error.at(where) from None


def _check_merge(settings: MergeSettings, hint: str) -> None:
    method, texts = METHODS[settings.method], settings.alpha_texts()
    method.check(settings.parameters, len(settings.tuned))
    if any(is_sweep(text) for text in texts):
        raise SettingsError(
            "a step merges with one alpha", where="merge.alpha", found=", ".join(texts), hint=hint
        )
    if settings.auto:
        return
    rules = parse_alpha(texts, method.default_alpha)  # one that cannot be read shows up here
    if not settings.allow_extrapolation:
        check_range(rules.values)
