"""`speechft run` and `speechft demo`: a recipe, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from speechft.cli.layout import output
from speechft.cli.options import Own
from speechft.core.errors import SettingsError
from speechft.core.launching import Launcher
from speechft.core.settings import Positional, Shown

if TYPE_CHECKING:
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
        recipe: YAML file, or a packaged recipe: demo, demo-human, speech-ft.
        out: folder of the run; runs/NAME if not given.
    """

    recipe: Annotated[str, Positional]
    out: Annotated[Path | None, Shown] = None


SETTINGS = {"run": RunOptions, "demo": DemoOptions}


def command(options: DemoOptions, overrides: list[str]) -> int:
    """Run a recipe or show its plan; give the exit code, which is the run's for what it refuses."""
    from speechft.core.launching import read_launch
    from speechft.pipeline.recipe.stage import load_recipe, run

    given = {"launcher": options.launcher, "workers": options.workers}
    launch, overrides = read_launch(overrides, **given)
    settings = load_recipe(getattr(options, "recipe", "demo"), overrides)
    if options.dry_run:
        return _show_plan(settings, options.out, options.redo)
    folder = run(settings, options.out, options.redo, launch)

    from speechft.cli.report import show_runs

    show_runs((folder,), folder / "report.html")
    return 0


def _show_plan(settings: RunSettings, out: Path | None, redo: bool) -> int:
    from rich.table import Table

    from speechft.data.sources import is_synthetic
    from speechft.pipeline.recipe.sizes import hours_of_audio, parameters_of, size_of, total_bytes
    from speechft.pipeline.recipe.stage import plan_run

    plan, console = plan_run(settings, out), output()
    parameters = parameters_of(settings.encoder)
    console.print(f"{settings.name} in {plan.out}, {len(plan.steps)} steps")
    hours = hours_of_audio(settings.data)
    unknown = "not made yet" if is_synthetic(settings.data) else "not counted"
    known = f"{sum(hours.values()):.2f} h in {len(hours)} splits" if hours else unknown
    console.print(f"audio    {settings.data}: {known}")
    count = f"{parameters / 1e6:.1f} M parameters" if parameters else "not counted"
    console.print(f"encoder  {settings.encoder or 'pre-trained first'}: {count}\n")
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    for name in ("step", "state", "size"):
        table.add_column(name, overflow="fold")
    table.add_column("disk", justify="right")
    refused = {} if redo else plan.graph.refused()
    for step in plan.steps:
        size = size_of(step, parameters)
        disk = f"{size.bytes / 1e6:.0f} MB" if size.bytes else ""
        state = "refused" if step.name in refused else plan.graph.state(step)
        table.add_row(step.name, state, size.text, disk)
    console.print(table, soft_wrap=False)
    total = total_bytes(plan, parameters)
    console.print(f"\nabout {total / 1e6:.0f} MB on disk" if total else "\ndisk: not known yet")
    for name, differing in refused.items():
        console.print(
            f"{name} is there with other {'; '.join(differing[:4])}: nothing is done without "
            "--redo, or another --out",
            markup=False,
        )
    if not plan.graph.open:
        return 0
    from speechft.encoders.identity import refuse_absent_here
    from speechft.pipeline.recipe.inputs import foreseen_leaks, look_at_labels

    refuse_absent_here([settings.encoder] if settings.encoder else [])
    read, unread = look_at_labels(plan)
    if read:
        console.print(f"splits and labels of {', '.join(read)}: all there", markup=False)
    if unread:
        console.print(f"splits and labels of {', '.join(unread)}: not looked at", markup=False)
    for line in foreseen_leaks(plan):
        console.print(f"will be heard with labels in tuning: {line}", markup=False)
    return SettingsError.exit_code if refused else 0
