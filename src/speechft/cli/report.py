"""`speechft report`: compare evaluated runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechft.cli.values import SET_HELP, output, settings_from


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs or of evaluations.")],
    out: Annotated[Path, typer.Option(help="Folder of the report.")],
    title: Annotated[str | None, typer.Option(help="Heading (default: the run's name).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP)] = None,
) -> None:
    """Compare runs: one page with words, table and figures.

    speechft report runs/demo --out runs/demo
    """
    from speechft.reporting.settings import ReportSettings
    from speechft.reporting.stage import report

    given = {"runs": runs, "out": out, "title": title}
    path = report(settings_from(ReportSettings, "report", given, set_))
    show(tuple(runs), path)


def show(runs: tuple[Path, ...], path: Path) -> None:
    """Print findings and table, and where the page is."""
    from speechft.reporting.findings import findings
    from speechft.reporting.page import terminal_table
    from speechft.reporting.stage import comparison_of

    comparison, console = comparison_of(runs), output()
    console.print()
    console.print(terminal_table(comparison), soft_wrap=False)
    console.print()
    for finding in findings(comparison):
        console.print(finding.headline, soft_wrap=False, markup=False)
    console.print(f"\nReport: {path}", markup=False)
