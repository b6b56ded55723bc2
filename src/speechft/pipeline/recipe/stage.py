"""`speechft run`: all stages of one recipe; what is done is skipped, what was stopped goes on."""

from __future__ import annotations

from pathlib import Path

from speechft.core.files import write_json, write_text
from speechft.core.logging import get_logger
from speechft.core.yaml12 import dump_yaml
from speechft.pipeline.recipe.inputs import check_inputs
from speechft.pipeline.recipe.plan import make_plan
from speechft.pipeline.recipe.settings import RunSettings, find_recipe, load_recipe
from speechft.pipeline.recipe.state import begin, check_redo, end, lock, status
from speechft.pipeline.recipe.steps import Plan
from speechft.reporting.records import ROLES, RUN

__all__ = ["RunSettings", "find_recipe", "load_recipe", "plan_run", "run"]

log = get_logger(__name__)


def plan_run(settings: RunSettings, out: Path | None = None) -> Plan:
    """Give the plan of a recipe without doing anything.

    Raises:
        SettingsError: a stage's settings are wrong, or the folder holds other finished work.
    """
    return make_plan(settings, out or Path("runs") / settings.name)


def run(settings: RunSettings, out: Path | None = None, redo: bool = False) -> Path:
    """Do the steps of a recipe in their order.

    A step is done when its note in the run's folder holds the hash of its settings, of its inputs
    and of its parents. Killed at any moment and started again, the run ends with the same bytes.

    Args:
        settings: the recipe.
        out: the run's folder; `runs/NAME` if not given.
        redo: replace finished steps whose settings have changed.

    Returns:
        The run's folder.

    Raises:
        SettingsError: the settings are wrong; another process is at work in the folder; it holds
            finished work with other settings, and `redo` was not asked for.
        DataError: data of any step is missing or lacks what a task needs.
    """
    plan = plan_run(settings, out)
    with lock(plan.out):
        if not redo:
            check_redo(plan)
        check_inputs(plan)
        _describe(settings, plan)
        for number, step in enumerate(plan.steps, start=1):
            place = f"[{number}/{len(plan.steps)}]"
            if status(plan, step) == "done":
                log.info("%s %s: done before", place, step.name)
                continue
            log.info("%s %s", place, step.name)
            begin(plan, step)
            step.run()
            end(plan, step)
    return plan.out


def _describe(settings: RunSettings, plan: Plan) -> None:
    """Write what a report and a reader need: the recipe as it was run, and the encoders' roles."""
    recipe = settings.model_dump(mode="json", exclude_unset=True)
    recipe_file = plan.out / "recipe.yaml"
    write_text(recipe_file, dump_yaml(recipe))
    about = {
        "name": settings.name,
        "data": settings.data,
        "seeds": list(settings.seeds),
        "command": "speechft run recipe.yaml",
        "recipe": recipe,
    }
    write_json(plan.out / RUN, about)
    write_json(plan.out / ROLES, list(plan.roles))
