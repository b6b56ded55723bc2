"""`speechft study`: tables of many encoders, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from speechft.cli.console import output
from speechft.cli.options import Own
from speechft.core.launch_settings import Launcher
from speechft.core.settings import Positional, Shown

if TYPE_CHECKING:
    from speechft.pipeline.graph import Graph
    from speechft.reporting.study.settings import StudySettings


class StudyOptions(Own):
    """Which studies to do, and how.

    Args:
        studies: YAML files; in a checkout also names of the files in its studies/.
        out: folder of all studies.
        workers: processes; 0 for one per GPU, or core.
        threads: of each process.
        launcher: who does the jobs: processes here, SLURM, or a dask cluster.
        hours: of processor time for each study in this call; the next one goes on.
        dry_run: list the jobs, and the hours that they will take; look for data; do nothing.
    """

    sets: ClassVar[str] = "Change the studies: seeds=[0]."

    studies: Annotated[tuple[str, ...], Positional] = Field(min_length=1)
    out: Annotated[Path, Shown] = Path("runs/studies")
    workers: Annotated[int, Shown] = Field(default=0, ge=0)
    threads: Annotated[int, Shown] = Field(default=1, ge=1)
    launcher: Annotated[Launcher, Shown] = "local"
    hours: Annotated[float | None, Shown] = Field(default=None, gt=0)
    dry_run: Annotated[bool, Shown] = False


SETTINGS = {"study": StudyOptions}


def command(options: StudyOptions, overrides: list[str]) -> None:
    """Do studies or list their jobs."""
    from speechft.core.launch_settings import read_launch
    from speechft.pipeline.study.study_file import load_study

    given = {name: getattr(options, name) for name in ("launcher", "workers", "threads")}
    launch, overrides = read_launch(overrides, **given)
    settings = [load_study(one, overrides) for one in options.studies]
    if options.dry_run:
        _show_plan(settings, options.out, options.threads)
        return
    from speechft.pipeline.study.stage import study

    folders = study(settings, options.out, launch, options.hours)
    whole = {folder.name: folder for folder in folders}
    for one in settings:
        if one.name in whole:
            _show(one, whole[one.name])
        else:  # the hours are over
            output().print(f"study {one.name}: jobs are left; the same command goes on")


def _show_plan(settings: list[StudySettings], out: Path, threads: int) -> None:
    from collections import Counter

    from speechft.encoders.identity import refuse_absent_here
    from speechft.pipeline.study.stage import plan_studies
    from speechft.pipeline.time_left import foreseen

    graph, console = plan_studies(settings, out, threads), output()
    jobs = list(graph.jobs.values())
    for job in jobs:
        state = "done " if graph.is_done(job) else "to do"
        console.print(f"{state} {job.verb:<9} {job.name}")
    counts = Counter((job.verb, graph.is_done(job)) for job in jobs)
    for verb in dict.fromkeys(job.verb for job in jobs):
        console.print(f"{verb}: {counts[verb, False]} to do, {counts[verb, True]} done")
    usual = {verb: hours for one in settings for verb, hours in one.hours.items()}
    known = foreseen(graph, usual)
    if total := sum(known.values()):
        timed = sum(hours > 0 for hours in known.values())
        console.print(
            f"{total:.1f} hours of processor time for {timed} jobs, as far as that is known"
        )
    if graph.open:
        for name in {name: None for one in settings for name in one.used}:
            refuse_absent_here(name)
        _look_at_data(graph)
    if any(row.choose for one in settings for row in one.rows):
        console.print("further seeds of rows with `choose` are named once the dev splits chose")


def _look_at_data(graph: Graph) -> None:
    """Look at the data of open jobs, as a study does before the first one."""
    from speechft.data.data_names import is_synthetic, lies_ready

    graph.refuse_unread()
    names = {name for job in graph.open for name in graph.data_of(job)}
    if not all(map(is_synthetic, names)):
        from speechft.cli.run import show_labels

        show_labels(graph.open)
    elif not all(map(lies_ready, names)):  # what reads labels takes long to be imported
        from speechft.data.synthetic.espeak import locate

        locate()


def _show(one: StudySettings, folder: Path) -> None:
    from rich.table import Table

    from speechft.reporting.study.files import read_study
    from speechft.reporting.study.stage_and_row_settings import SCORE
    from speechft.reporting.study.verdicts import figures_of

    _, table, verdicts, _ = read_study(folder)
    console = output()
    console.print(f"\n{one.title}\n")
    view = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    view.add_column("encoder", overflow="fold")
    for title in ("score", "against θ0", "against θ′"):
        view.add_column(title, justify="right")
    for row in one.grouped:
        score = table.spread(row.name, SCORE)
        if score is None:
            continue
        found = [table.against(row, other) for other in (row.before, row.tuned)]
        texts = [
            "" if difference is None else difference.text(0, signed=True) for difference in found
        ]
        view.add_row(row.heading, score.text(0), *texts)
    console.print(view, soft_wrap=False)
    console.print()
    for verdict in verdicts:
        text = f"{verdict.text}: {verdict.finding.says} {figures_of(verdict)}"
        console.print(text, soft_wrap=False)
    console.print(f"\nReport: {folder / 'report.md'}")
