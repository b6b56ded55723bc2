"""The verbs of the Python API: the stages, called with keyword arguments or with their settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from speechft.core.settings import Settings, parse_settings

if TYPE_CHECKING:
    from speechft.analysis.settings import AnalyzeSettings
    from speechft.encoders.inspect import Inspection
    from speechft.encoders.settings import ConvertSettings, InspectSettings
    from speechft.merging.settings import MergeSettings
    from speechft.prediction.settings import EmbedSettings
    from speechft.probing.settings import EvaluateSettings
    from speechft.reporting.leaderboard.ranking import Leaderboard
    from speechft.reporting.settings import LeaderboardSettings, ReportSettings
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.pretrain.settings import PretrainSettings

S = TypeVar("S", bound=Settings)


def pretrain(settings: PretrainSettings | None = None, **values: Any) -> Path:
    """Pre-train an encoder on audio alone, or continue its pre-training.

    Args:
        settings: all settings, or none.
        values: the fields of `PretrainSettings`, if no settings are given.

    Returns:
        The run's folder; `encoder/` in it holds the encoder.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.training.pretrain import stage
    from speechft.training.pretrain.settings import PretrainSettings

    return stage.pretrain(_chosen(PretrainSettings, settings, values, "pretrain"))


def finetune(settings: FinetuneSettings | None = None, **values: Any) -> Path:
    """Fine-tune an encoder on one task.

    Args:
        settings: all settings, or none.
        values: the fields of `FinetuneSettings`, if no settings are given.

    Returns:
        The run's folder; `encoder/` in it holds the finetuned encoder θ'.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.training.finetune import stage
    from speechft.training.finetune.settings import FinetuneSettings

    return stage.finetune(_chosen(FinetuneSettings, settings, values, "finetune"))


def merge(settings: MergeSettings | None = None, **values: Any) -> Path:
    """Merge a base encoder with one or more finetuned ones.

    Args:
        settings: all settings, or none.
        values: the fields of `MergeSettings`, if no settings are given.

    Returns:
        The folder of the merged encoder θ̂.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.merging import stage
    from speechft.merging.settings import MergeSettings

    return stage.merge(_chosen(MergeSettings, settings, values, "merge"))


def evaluate(settings: EvaluateSettings | None = None, **values: Any) -> Path:
    """Probe frozen encoders on tasks.

    Args:
        settings: all settings, or none.
        values: the fields of `EvaluateSettings`, if no settings are given.

    Returns:
        The folder with `results.jsonl`.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.pipeline import evaluation as stage
    from speechft.probing.settings import EvaluateSettings

    return stage.evaluate(_chosen(EvaluateSettings, settings, values, "evaluate"))


def analyze(settings: AnalyzeSettings | None = None, **values: Any) -> Path:
    """Compare encoders with the one that they come from: weights and hidden states.

    Args:
        settings: all settings, or none.
        values: the fields of `AnalyzeSettings`, if no settings are given.

    Returns:
        The folder with `analysis.jsonl`, `analysis.md` and `similarity.png`.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.analysis import stage
    from speechft.analysis.settings import AnalyzeSettings

    return stage.analyze(_chosen(AnalyzeSettings, settings, values, "analyze"))


def report(settings: ReportSettings | None = None, **values: Any) -> Path:
    """Compare evaluated runs.

    Args:
        settings: all settings, or none.
        values: the fields of `ReportSettings`, if no settings are given.

    Returns:
        The path of `report.html`.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.reporting import stage
    from speechft.reporting.settings import ReportSettings

    return stage.report(_chosen(ReportSettings, settings, values, "report"))


def convert(settings: ConvertSettings | None = None, **values: Any) -> Path:
    """Write an encoder in another format; every tensor stays bit for bit the same.

        speechft.convert(source="hubert_base_ls960.pt", target="hubert-base", to="hf")

    Args:
        settings: all settings, or none.
        values: the fields of `ConvertSettings`, if no settings are given.

    Returns:
        The file or folder that was written.

    Raises:
        CheckpointError: the source is no complete encoder, or the format has no place for it.
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.encoders import convert as stage
    from speechft.encoders.settings import ConvertSettings

    return stage.convert(_chosen(ConvertSettings, settings, values, "convert"))


def inspect(path: InspectSettings | Path | str | None = None, **values: Any) -> Inspection:
    """Say what a checkpoint holds, and what a merge would do with it.

        speechft.inspect("hubert_base_ls960.pt").family

    Args:
        path: a folder, a checkpoint file, a Hub id or a packaged name; or all settings.
        values: the other fields of `InspectSettings`.

    Raises:
        CheckpointError: it cannot be read, or it is no complete encoder.
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.encoders import inspect as stage
    from speechft.encoders.settings import InspectSettings

    settings = path if isinstance(path, InspectSettings) else None
    if settings is None and path is not None:
        values = {"path": path, **values}
    return stage.inspect(_chosen(InspectSettings, settings, values, "inspect"))


def embed(settings: EmbedSettings | None = None, **values: Any) -> Path:
    """Write the hidden states of audio files.

        speechft.embed(encoder="tiny-hubert", audio=["a.wav", "more/"], out="states.npz")

    Args:
        settings: all settings, or none.
        values: the fields of `EmbedSettings`, if no settings are given.

    Returns:
        The file that was written.

    Raises:
        DataError: an audio file cannot be used.
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.prediction import embed as stage
    from speechft.prediction.settings import EmbedSettings

    return stage.embed(_chosen(EmbedSettings, settings, values, "embed"))


def leaderboard(settings: LeaderboardSettings | None = None, **values: Any) -> Leaderboard:
    """Rank encoders measured on one suite, beside published rows.

    Args:
        settings: all settings, or none.
        values: the fields of `LeaderboardSettings`, if no settings are given.

    Returns:
        The rows, best first.

    Raises:
        SettingsError: a setting is unknown or wrong.
    """
    from speechft.reporting.leaderboard import stage
    from speechft.reporting.settings import LeaderboardSettings

    return stage.leaderboard(_chosen(LeaderboardSettings, settings, values, "leaderboard"))


def run(recipe: Path | str, out: Path | str | None = None, overrides: tuple[str, ...] = ()) -> Path:
    """Run a recipe; what is done is skipped, what was stopped goes on.

    Args:
        recipe: a YAML file, or the name of a packaged recipe ("demo").
        out: the run's folder; `runs/NAME` if not given.
        overrides: `key.sub=value` changes to the recipe.

    Returns:
        The run's folder, with `report.html` in it.

    Raises:
        SettingsError: the recipe is wrong; all its mistakes are listed at once.
    """
    from speechft.pipeline.recipe import stage

    return stage.run(stage.load_recipe(recipe, overrides), out=None if out is None else Path(out))


def study(
    *studies: Path | str,
    out: Path | str = "runs/studies",
    overrides: tuple[str, ...] = (),
    workers: int = 0,
    threads: int = 1,
) -> list[Path]:
    """Compare many encoders over seeds; what is done is kept, what was stopped goes on.

        speechft.study("supervised", "baselines", out="runs/studies")

    Args:
        studies: YAML files, or names of files in the folder `studies`.
        out: folder of all studies, which share their stages.
        overrides: `key.sub=value` changes to each of them.
        workers: processes; 0 for one per core.
        threads: of each process.

    Returns:
        The folder of each study, with `report.md` and `measurements.jsonl` in it.

    Raises:
        SettingsError: a study is wrong; all its mistakes are listed at once.
        SpeechFTError: jobs failed; the message names them, and the others are done.
    """
    from speechft.pipeline.study import stage

    settings = [stage.load_study(one, overrides) for one in studies]
    return stage.study(settings, Path(out), workers=workers, threads=threads)


def _chosen(kind: type[S], settings: S | None, values: dict[str, Any], verb: str) -> S:
    if settings is not None and not values:
        return settings
    given = {} if settings is None else settings.model_dump()
    return parse_settings(kind, {**given, **values}, where=f"speechft.{verb}")
