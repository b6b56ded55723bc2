"""`speechft run` and `speechft demo`: a recipe, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from speechft.cli.console import output
from speechft.cli.options import AtOnce, Own
from speechft.core.errors import SettingsError
from speechft.core.launch_settings import Launcher
from speechft.core.settings import Positional, Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from speechft.pipeline.graph import Job
    from speechft.pipeline.recipe.check_inputs import Needed
    from speechft.pipeline.recipe.recipe_jobs import Plan
    from speechft.pipeline.recipe.settings import RunSettings


class DemoOptions(Own):
    """How to run a recipe.

    Args:
        out: folder of the run.
        dry_run: show the plan with sizes, look for labels; do nothing.
        redo: replace trainings of other settings, too; all else is replaced unasked.
        launcher: who does the steps: processes here, SLURM, or a dask cluster.
        workers: processes; 0 or 1: this one alone, but for probes.
    """

    sets: ClassVar[str] = "Change the recipe: finetune.steps=100."

    out: Annotated[Path | None, Shown] = Path("runs/demo")
    dry_run: Annotated[bool, Shown] = False
    redo: Annotated[bool, Shown] = False
    launcher: Annotated[Launcher, Shown] = "local"
    workers: Annotated[int, Shown] = Field(default=0, ge=0)


class RunOptions(DemoOptions):
    """Which recipe to run, and how.

    Args:
        recipe: YAML file, or a packaged recipe: demo, demo-human, speech-ft, paper/asr; `--recipes`
            lists all.
        out: folder of the run; runs/NAME if not given.
    """

    recipe: Annotated[str, Positional]
    out: Annotated[Path | None, Shown] = None


SETTINGS = {"run": RunOptions, "demo": DemoOptions}


def list_recipes() -> None:
    """Print every packaged recipe with its title."""
    from speechft.pipeline.recipe.settings import packaged, read_recipe

    found = {name: read_recipe(path) for name, path in packaged().items()}
    for name, values in found.items():
        print(f"{name:<{max(map(len, found))}}  {values.get('report', {}).get('title', '')}")


AT_ONCE = {"--recipes": AtOnce("List the packaged recipes.", list_recipes)}


def command(options: DemoOptions, overrides: list[str]) -> int:
    """Run a recipe or show its plan; give the exit code, which is the run's for what it refuses."""
    from speechft.core.launch_settings import read_launch
    from speechft.pipeline.recipe.settings import load_recipe

    given = {"launcher": options.launcher, "workers": options.workers}
    launch, overrides = read_launch(overrides, **given)
    settings = load_recipe(getattr(options, "recipe", "demo"), overrides)
    if options.dry_run:
        return _show_plan(settings, options.out, options.redo)
    from speechft.pipeline.recipe.stage import run

    folder = run(settings, options.out, options.redo, launch)

    from speechft.cli.report import show_runs

    show_runs((folder,), folder / "report.html")
    return 0


def _show_plan(settings: RunSettings, out: Path | None, redo: bool) -> int:
    from speechft.core.artifact import absent
    from speechft.pipeline.recipe.check_inputs import needed, refuse_missing
    from speechft.pipeline.recipe.cost_estimate import parameters_of
    from speechft.pipeline.recipe.stage import plan_run

    data, console = needed(settings), output()
    # What would take minutes to read is not read.
    plan = plan_run(settings, out, [one.data for one in data if one.corpus or one.lacks])
    parameters = parameters_of(settings.encoder)
    console.print(f"{settings.name} in {plan.out}, {len(plan.steps)} steps")
    _show_data(data, counted=bool(plan.graph.open))
    lost = [error.where for error in absent(settings)]
    state = "missing" if settings.encoder in lost else "not counted"
    count = f"{parameters / 1e6:.1f} M parameters" if parameters else state
    console.print(f"encoder  {settings.encoder or 'pre-trained first'}: {count}\n")
    refused = {} if redo else plan.graph.refused()
    _show_steps(plan, parameters, refused)
    for name, differing in refused.items():
        console.print(
            f"{name} is there with other {'; '.join(differing[:4])}: nothing is done without "
            "--redo, or another --out"
        )
    refuse_missing(settings, least=1)
    for line in _without_room(plan):
        refused[line] = []
        console.print(line)
    if not plan.graph.open:
        return 0
    from speechft.pipeline.recipe.check_inputs import foreseen_leaks

    plan.graph.refuse_unread()
    show_labels(plan.graph.open)
    for line in foreseen_leaks(plan):
        console.print(f"will be heard with labels in tuning: {line}")
    return SettingsError.exit_code if refused else 0


def show_labels(jobs: Sequence[Job]) -> None:
    """Look at the labels that jobs read, and show of what data; what is wrong is an error."""
    from speechft.pipeline.readings import look_at_labels

    read, unread = look_at_labels(jobs)
    if read:
        output().print(f"splits and labels of {', '.join(read)}: all there")
    if unread:
        output().print(f"splits and labels of {', '.join(unread)}: not looked at")


def _without_room(plan: Plan) -> list[str]:
    """Say which hidden states a run would refuse to keep, by their sizes alone."""
    from speechft.pipeline.recipe.cost_estimate import without_room
    from speechft.probing.settings import EvaluateSettings

    open_ = [s for one in plan.graph.open if isinstance(s := one.settings, EvaluateSettings)]
    return [
        f"hidden states of {data}, {need / 2**30:,.1f} GiB, do not fit store_gb "
        f"({settings.store_gb:g}), and a run refuses them: raise it, or evaluate.keep=pooled"
        for settings in open_[:1]  # the evaluations of a run differ in nothing that counts here
        for data, need in without_room(settings).items()
    ]


def _show_data(data: list[Needed], counted: bool) -> None:
    """Show of each DATA whether it is there, and its hours, for which it may have to be opened."""
    from speechft.data.data_names import lies_ready
    from speechft.pipeline.recipe.cost_estimate import hours_of_audio

    for one in data:
        state = "found" if one.place or lies_ready(one.data) else "not made yet"
        state = "missing" if one.missing else "not complete" if one.lacks else state
        hours = hours_of_audio(one.data) if counted and not one.lacks else None
        said = ", not counted" if counted else ""
        said = f", {one.hours:g} h as its makers say" if one.hours else said
        if hours:
            state, said = f"{sum(hours.values()):.2f} h in {len(hours)} splits", ""
        output().print(f"audio    {one.data}: {state}{said if one.place else ''}")


def _show_steps(plan: Plan, parameters: int | None, refused: Mapping[str, object]) -> None:
    """Show what each step amounts to, the disk of all, and the hours of those not done."""
    from rich.filesize import decimal
    from rich.table import Table

    from speechft.pipeline.recipe.cost_estimate import BASE_PARAMETERS, GPU, cost_of, size_of

    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in ("step", "state", "size"):
        table.add_column(name, overflow="fold")
    for name in ("disk", "GPU h"):
        table.add_column(name, justify="right")
    total, hours = 0, 0.0
    for step in plan.steps:
        done = plan.graph.is_done(step)
        size = size_of(step, parameters or BASE_PARAMETERS, done=done)
        cost = 0.0 if done else cost_of(step, parameters)
        total, hours = total + (size.bytes or 0), hours + cost
        disk = decimal(size.bytes) if size.bytes else ""
        state = "refused" if step.name in refused else plan.graph.state(step)
        time = f"{cost:.1f}" if cost >= 0.05 else ""
        table.add_row(step.name, state, size.text, disk, time)
    output().print(table, soft_wrap=False)
    base = "" if parameters else ", for an encoder of Base size"
    disk = f"about {decimal(total)}" if total >= 1e6 else "less than 1 MB"
    left = f", {hours:,.1f} hours of a GPU as fast as {GPU}{base}"
    if not plan.graph.open:
        over = all(map(plan.graph.is_done, plan.steps))
        left = "; nothing is left to do" if over else "; nothing else can be done"
    output().print(f"\n{disk} on disk{left}")
