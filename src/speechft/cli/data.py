"""`speechft data`: check data, or make it ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechft.cli.values import output

if TYPE_CHECKING:
    from speechft.data.check import CheckReport

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check data, or make it ready.")
Spec = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help=r"A table, cuts, NAME:ROOT, synthetic[:PRESET\[@LANGUAGE]], or a known corpus' NAME "
        "before ROOT.",
    ),
]
Root = Annotated[
    str | None, typer.Argument(metavar="[ROOT]", help="Folder of the known corpus DATA.")
]
Seed = Annotated[int, typer.Option(help="Seed of the split of data that comes without one.")]
AllowCommands = Annotated[
    bool,
    typer.Option("--allow-commands", help="Run commands that cuts name as sources of audio."),
]


@app.command()
def check(
    data: Spec, root: Root = None, seed: Seed = 0, allow_commands: AllowCommands = False
) -> None:
    """Look at every utterance: errors make data unusable, warnings are worth knowing.

    speechft data check timit /corpora/TIMIT
    """
    from speechft.data.check import check_data

    report = check_data(_spec(data, root), seed, allow_commands=allow_commands)
    _show(report)
    if not report.passed:
        raise typer.Exit(3)


@app.command()
def prepare(
    data: Spec,
    root: Root = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the cuts; by default data/NAME.")
    ] = None,
    seed: Seed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read the audio files' headers only.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out utterances without usable audio.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Do it again even if it is done.")] = False,
    allow_commands: AllowCommands = False,
) -> None:
    """Check data and write its splits as lhotse cuts, which read faster.

    speechft data prepare librispeech /corpora/LibriSpeech
    """
    from speechft.data.prepare import default_folder, prepare_data

    spec = _spec(data, root)
    folder = out or default_folder(spec)
    report = prepare_data(
        spec,
        folder,
        seed,
        decode=not quick,
        skip_bad=skip_bad,
        force=force,
        allow_commands=allow_commands,
    )
    _show(report)
    typer.echo(folder)


def _spec(data: str, root: str | None) -> str:
    from speechft.core.errors import SettingsError

    if root is None:
        return data
    if ":" in data:
        raise SettingsError(
            "the root is given twice",
            expected="NAME:ROOT, or NAME and ROOT",
            found=f"{data} {root}",
        )
    return f"{data}:{root}"


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
