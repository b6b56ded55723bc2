"""`speechft study`: tables of many encoders, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechft.cli.values import output

if TYPE_CHECKING:
    from speechft.reporting.study.settings import StudySettings


def command(
    studies: Annotated[
        list[str],
        typer.Argument(help="YAML files; in a checkout also names of the files in its studies/."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of all studies.")] = Path("runs/studies"),
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for one per GPU, or core.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each process.")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the jobs; do nothing.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the studies: seeds=[0]; may be repeated."),
    ] = None,
) -> None:
    """Do studies: stages are shared, what is done is kept, what was stopped goes on.

    speechft study supervised --out runs/studies  # in a checkout
    """
    from speechft.pipeline.study.stage import load_study, study

    settings = [load_study(one, set_ or []) for one in studies]
    if dry_run:
        _show_plan(settings, out)
        return
    folders = study(settings, out, workers=workers, threads=threads)
    for one, folder in zip(settings, folders, strict=True):
        _show(one, folder)


def _show_plan(settings: list[StudySettings], out: Path) -> None:
    from collections import Counter

    from speechft.pipeline.study.stage import plan_studies

    planned, console = plan_studies(settings, out).jobs.values(), output()
    parts = {job.part.folder for job in planned if job.part is not None}
    jobs = [job for job in planned if job.done or job.folder not in parts]
    for job in jobs:
        console.print(f"{'done ' if job.done else 'to do'} {job.verb:<9} {job.name}", markup=False)
    counts = Counter((job.verb, job.done) for job in jobs)
    for verb in dict.fromkeys(job.verb for job in jobs):
        console.print(f"{verb}: {counts[verb, False]} to do, {counts[verb, True]} done")
    if any(row.choose for one in settings for row in one.rows):
        console.print("further seeds of rows with `choose` are named once the dev splits chose")


def _show(one: StudySettings, folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from speechft.reporting.study.files import read_study
    from speechft.reporting.study.specs import SCORE
    from speechft.reporting.study.wording import figures_of

    _, table, verdicts, _ = read_study(folder)
    console = output()
    console.print(f"\n{one.title}\n", markup=False)
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
        view.add_row(escape(row.heading), score.text(0), *texts)
    console.print(view, soft_wrap=False)
    console.print()
    for verdict in verdicts:
        text = f"{verdict.text}: {verdict.finding.says} {figures_of(verdict)}"
        console.print(text, soft_wrap=False, markup=False)
    console.print(f"\nReport: {folder / 'report.md'}", markup=False)
