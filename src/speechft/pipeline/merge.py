"""`speechft merge`, and what joins it with other verbs: an alpha from data, a head refitted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import Artifact, dependencies, read_record
from speechft.core.errors import SettingsError
from speechft.core.files import atomic_dir, write_text
from speechft.core.locks import LOCK
from speechft.core.logging import get_logger
from speechft.core.paths import beside, first_of, home_expanded
from speechft.core.settings import parse_settings
from speechft.merging import stage
from speechft.merging.alpha import CHOICE, Chosen, is_sweep, read_choice
from speechft.merging.output import with_heads
from speechft.merging.settings import MergeSettings

#: What a head on a frozen encoder is trained with unless `refit` says otherwise.
DEFAULTS: Final[dict[str, Any]] = {"steps": 500, "learning_rate": 1e-3, "schedule": "stable"}
_FIXED: Final = ("encoder", "data", "task", "out", "head_warmup", "method")
#: What an artefact's record says by itself.
_OWN: Final = ("stage", "version", "depends", "products", "versions", "processor")
log = get_logger(__name__)


def merge(settings: MergeSettings) -> Path:
    """Merge as `merging.stage.merge` does; choose alpha before it, train a head on the result.

    With `alpha: auto` the choice lies in `OUT.alpha/` until the result is whole. With `heads:
    refit` the merged encoder stays as it is while the head is trained. What was stopped goes on:
    the encoder and the training lie in `OUT.refit/`.

    Returns:
        The folder of the merged encoder, with `head.safetensors` where one was refitted.

    Raises:
        SettingsError: see `merging.stage.merge`; or it is not said which task the head is for.
        DataError: the data lacks the labels of the task.
    """
    if not settings.auto:
        return _merge(settings)
    out = home_expanded(settings.out)
    stage.check_output(settings, out)
    chosen = settings.chosen
    if chosen or Artifact(out, "merge", dependencies(settings), settings.version).done:
        return _merge(settings, read_choice(chosen or out / CHOICE))
    from speechft.analysis.alpha.settings import alpha_settings
    from speechft.analysis.alpha.stage import choose_alpha

    work = beside(out, ".alpha")
    choice = choose_alpha(alpha_settings(settings, work)) / CHOICE
    merged = _merge(settings, read_choice(choice))
    _remove(work)
    return merged


def _merge(settings: MergeSettings, chosen: Chosen | None = None) -> Path:
    """Merge with an alpha that is known, and train a head on the result where one is wanted."""
    if settings.heads != "refit":
        return stage.merge(settings, chosen)
    if any(is_sweep(text) for text in settings.alpha_texts()):
        raise SettingsError("a sweep holds no heads", where="heads", expected="drop, or one alpha")
    out = home_expanded(settings.out)
    stage.check_output(settings, out)
    wanted = Artifact(out, "merge", dependencies(settings), settings.version)
    if wanted.done:
        log.info("merge: already done in %s", out)
        return out
    work = beside(out, ".refit")
    merged, run = _refit(settings, work, chosen)
    record = read_record(merged) or {}
    heads = sorted(run.glob("encoder/head*.safetensors"))
    parts = [merged / name for name in record["products"]] + heads
    with atomic_dir(out) as folder:
        for path in parts:
            shutil.copyfile(path, folder / path.name)
        card = (folder / "README.md").read_text("utf-8")
        write_text(folder / "README.md", with_heads(card, [path.name for path in heads]))
        about = {name: value for name, value in record.items() if name not in _OWN}
        about |= {"heads": [path.name for path in heads]}
        about["settings"] = settings.model_dump(mode="json", exclude={"out", "threads"})
        done = Artifact(folder, "merge", wanted.depends, wanted.version)
        done.end([path.name for path in parts], **about)
    _remove(work)
    log.info("merge: a head was refitted on the merged encoder in %s", out)
    return out


def _remove(work: Path) -> None:
    """Remove the folder of a merge's own work; what the user has put there stays."""
    from speechft.training.run_folder import files_of_run

    Artifact(work, "", {}).clear(*files_of_run(work))
    left = [path for path in work.rglob("*") if not path.is_dir() and path.name != LOCK]
    if left:
        log.info("merge: %s stays, as it holds %s", work, first_of(sorted(p.name for p in left)))
    else:
        shutil.rmtree(work)


def _refit(settings: MergeSettings, work: Path, chosen: Chosen | None) -> tuple[Path, Path]:
    """Merge without heads, and train a head on that; give the two folders."""
    from speechft.training.finetune.stage import FinetuneSettings, finetune

    fixed = [name for name in _FIXED if name in settings.refit]
    if fixed:
        raise SettingsError(f"refit does not say {fixed[0]}", where="refit", found=settings.refit)
    given = _like_tuned(settings) | settings.refit
    values = {**DEFAULTS, **given, "encoder": str(work / "merged"), "data": settings.data}
    tuning = parse_settings(
        FinetuneSettings, {**values, "out": work / "run", "head_warmup": 1.0}, where="merge.refit"
    )
    plain: dict[str, Any] = {"heads": "drop", "task": None, "refit": {}}
    plain |= {} if settings.auto else {"data": None}
    merged = stage.merge(settings.model_copy(update={**plain, "out": work / "merged"}), chosen)
    return merged, finetune(tuning)


def _like_tuned(settings: MergeSettings) -> dict[str, Any]:
    """Give the task and the size of the head that TUNED has.

    Raises:
        SettingsError: it has none, or several, and no task is said.
    """
    from speechft.analysis.alpha.stage import heads_of

    same = [r for r in heads_of(settings) if settings.task in (None, r.task["task"])]
    tasks = {str(record.task["task"]) for record in same}
    if settings.task is None and len(tasks) != 1:
        raise SettingsError(
            "it is not said which task the head is for",
            where="task",
            found=f"heads for {', '.join(sorted(tasks))}" if tasks else "no head beside TUNED",
            hint="name it with --task",
        )
    size = {"head_size": same[0].size} if same else {}
    return {"task": settings.task or tasks.pop(), **size}
