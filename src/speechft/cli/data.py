"""`speechft data`: check data, or make it ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechft.cli.values import output

if TYPE_CHECKING:
    from speechft.data.check import CheckReport

app = typer.Typer(no_args_is_help=True, help="Check data, or make it ready.")
Spec = Annotated[
    str, typer.Argument(metavar="DATA", help="A table, cuts, NAME:ROOT, or synthetic[:PRESET].")
]
Seed = Annotated[int, typer.Option(help="Seed of the split of data that comes without one.")]


@app.command()
def check(data: Spec, seed: Seed = 0) -> None:
    """Look at every utterance: errors make data unusable, warnings are worth knowing."""
    from speechft.data.check import check_data

    report = check_data(data, seed)
    _show(report)
    if not report.passed:
        raise typer.Exit(3)


@app.command()
def prepare(
    data: Spec, out: Annotated[Path, typer.Option(help="Folder for the cuts.")], seed: Seed = 0
) -> None:
    """Check data and write its splits as lhotse cuts, which read faster."""
    from speechft.data.prepare import prepare_data

    _show(prepare_data(data, out, seed))
    typer.echo(out)


def _show(report: CheckReport) -> None:
    from rich.table import Table

    console = output()
    if report.summary:
        names = list(dict.fromkeys(name for line in report.summary.values() for name in line))
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for name in ("", *names):
            table.add_column(name, justify="right" if name else "left", overflow="fold")
        for split, about in report.summary.items():
            table.add_row(split, *(_text(about.get(name)) for name in names))
        console.print(table, soft_wrap=False)
    for kind, lines in (("error", report.errors), ("warning", report.warnings)):
        for line in lines:
            console.print(f"{kind}: {line}", markup=False)
    count = len(report.errors)
    verdict = "no errors" if report.passed else f"{count} error{'s' if count > 1 else ''}"
    console.print(verdict, markup=False)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list | tuple | set):
        return str(len(value)) if len(value) > 4 else " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)
