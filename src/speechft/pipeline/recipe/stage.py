"""`speechft run`: all stages of one recipe; what is done is skipped, what was stopped goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from speechft.core.artifact import RECORD, refuse_absent
from speechft.core.errors import SettingsError
from speechft.core.files import remove_leftovers, write_json, write_text
from speechft.core.launch_settings import LaunchSettings
from speechft.core.locks import work_alone
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, in_the_way
from speechft.core.yaml12 import dump_yaml
from speechft.pipeline.execution import Crew, raise_failures
from speechft.pipeline.launchers import Workers, start_workers
from speechft.pipeline.recipe.recipe_jobs import Plan, make_plan
from speechft.pipeline.recipe.settings import RunSettings, find_recipe, load_recipe
from speechft.reporting.read_results import ROLES, RUN

__all__ = ["RunSettings", "find_recipe", "load_recipe", "plan_run", "run"]

log = get_logger(__name__)


def plan_run(settings: RunSettings, out: Path | None = None, absent: Sequence[str] = ()) -> Plan:
    """Give the plan of a recipe without doing anything.

    Args:
        settings: the recipe.
        out: the run's folder; `runs/NAME` if not given.
        absent: DATA that is not read.

    Raises:
        SettingsError: a stage's settings are wrong.
    """
    return make_plan(settings, out or Path("runs") / settings.name, absent)


def run(
    settings: RunSettings,
    out: Path | None = None,
    redo: bool = False,
    launch: LaunchSettings | None = None,
) -> Path:
    """Do the steps of a recipe, parents first.

    A step is done when what lies in its folder says that it was made from the same settings and
    inputs, and is as it was written. Killed at any moment and started again, the run ends with the
    same bytes. A step that fails stops only those that need it.

    Args:
        settings: the recipe.
        out: the run's folder; `runs/NAME` if not given.
        redo: replace trainings of other settings, too; all else is replaced unasked.
        launch: who does the steps; this process, one after the other, if not given.

    Returns:
        The run's folder.

    Raises:
        SettingsError: the settings are wrong; another process is at work in the folder; it holds
            trainings with other settings, and `redo` was not asked for, or other files.
        DataError: data of any step is missing or lacks what a task needs.
    """
    from speechft.pipeline.recipe.check_inputs import check_inputs, refuse_missing

    launch = launch or LaunchSettings()
    refuse_missing(settings)
    plan = plan_run(_launched(settings, launch), out)
    _refuse_foreign(plan.out)
    with work_alone(plan.out):
        remove_leftovers(plan.out)
        if not redo:
            check_redo(plan)
        check_inputs(plan)
        _describe(settings, plan)
        for step in plan.steps:
            if plan.graph.is_done(step):
                log.info("%s: done before", step.name)
        with _workers(plan, launch) as workers:
            crew = Crew(
                workers,
                threads=launch.threads,
                replace=lambda job: redo or not job.stage.costly,
                here=("evaluate", "report"),  # these share their own work out, or are quick
            )
            crew.do(plan.graph.open)
        raise_failures(crew.outcome, plan.out, "steps of the run")
    return plan.out


def check_redo(plan: Plan) -> None:
    """Refuse to throw away costly results, or what was begun, because something was changed.

    Raises:
        SettingsError: names the step and what was changed.
    """
    refused = plan.graph.refused()
    for step in [step for step in plan.steps if step.name in refused][:1]:
        refuse_absent(step.settings)  # what is gone looks changed, too
        raise SettingsError(
            f"the folder holds a {step.verb} with other settings or data",
            where=step.folder,
            found="; ".join(refused[step.name][:4]),
            hint="choose another --out, or add --redo to replace it",
        )


def _refuse_foreign(out: Path) -> None:
    """Refuse a folder with other files that a run would write over; tell of others in it.

    Raises:
        SettingsError: names them.
    """
    names = sorted(path.name for path in out.glob("[!.]*")) if out.is_dir() else []
    names = [name for name in names if name != "pretrain" and not name.startswith("seed-")]
    if RUN in names or not names:  # steps look after their own folders
        return
    own = ("recipe.yaml", ROLES, "report.html", "report.md", "figures", RECORD)
    foreign = [name for name in names if name in own]
    if foreign:
        raise in_the_way(out, foreign, "no folder, or that of a run", "choose another --out")
    log.warning("run: %s holds other files, which stay as they are: %s", out, first_of(names))


def _workers(plan: Plan, launch: LaunchSettings) -> AbstractContextManager[Workers | None]:
    if launch.launcher == "local" and launch.workers <= 1:
        return nullcontext()
    import torch

    gpus = torch.cuda.device_count()
    return start_workers(
        launch, plan.out, workers=launch.workers, threads=launch.threads, gpus=gpus
    )


def _launched(settings: RunSettings, launch: LaunchSettings) -> RunSettings:
    """Let evaluations be done by whoever does the other steps, unless the recipe says who."""
    given = settings.evaluate.model_fields_set
    names = launch.model_fields_set & {"launcher", "workers", "slurm", "dask"}
    update = {name: getattr(launch, name) for name in names if name not in given}
    evaluate = settings.evaluate.model_copy(update=update)
    return settings.model_copy(update={"evaluate": evaluate})


def _describe(settings: RunSettings, plan: Plan) -> None:
    """Write what a report and a reader need: the recipe as it was run, and the encoders' roles."""
    recipe = settings.model_dump(mode="json", exclude_unset=True)
    about = {
        "name": settings.name,
        "data": settings.data,
        "seeds": list(settings.seeds),
        "command": "speechft run recipe.yaml",
        "recipe": recipe,
    }
    write_json(plan.out / RUN, about)  # first: it says that the folder is a run's
    write_text(plan.out / "recipe.yaml", dump_yaml(recipe))
    write_json(plan.out / ROLES, list(plan.roles.values()))
