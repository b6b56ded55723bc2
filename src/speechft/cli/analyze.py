"""`speechft analyze`: weights and hidden states beside θ0's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechft.cli.values import SET_HELP, output, settings_from


def command(
    base: Annotated[str, typer.Argument(help="θ0: folder, file, Hub id or packaged name.")],
    encoders: Annotated[
        list[str], typer.Argument(help="ENCODER…: what became of it; folders, files, Hub ids.")
    ],
    data: Annotated[str, typer.Option(help="DATA; only its audio counts.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    split: Annotated[
        str | None, typer.Option(help="Of the data (default: test, else dev, else train).")
    ] = None,
    utterances: Annotated[int | None, typer.Option(help="At most so many (default: 200).")] = None,
    alpha: Annotated[
        list[float] | None,
        typer.Option(
            help="Where between θ0 and ENCODER layers are looked at for being linear (default: "
            "0.25 and 0.5); may be repeated."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, or auto (default).")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw (default: 0).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP)] = None,
) -> None:
    """Say how far encoders have moved from θ0: in their weights, and in their hidden states.

    speechft analyze tiny-hubert runs/sid/encoder runs/sid-merged --data synthetic:demo --out a
    """
    from speechft.analysis.settings import AnalyzeSettings
    from speechft.analysis.show import FIGURE
    from speechft.analysis.stage import RECORDS, analyze

    given = {
        "base": base,
        "encoders": tuple(encoders),
        "data": data,
        "out": out,
        "split": split,
        "utterances": utterances,
        "alphas": tuple(alpha) if alpha else None,
        "device": device,
        "seed": seed,
    }
    folder = analyze(settings_from(AnalyzeSettings, "analyze", given, set_))
    show(folder / RECORDS)
    output().print(f"\nPage: {folder / 'analysis.md'}   Figure: {folder / FIGURE}", markup=False)


_COLUMNS = 9  # that fit beside each other; all are in the Markdown


def show(records: Path) -> None:
    """Print an analysis as a table of 80 columns."""
    from rich.table import Table
    from rich.text import Text

    from speechft.analysis.show import rows
    from speechft.core.files import read_jsonl
    from speechft.core.text import printable

    heads, cells = rows(read_jsonl(records))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(heads[0], overflow="fold", max_width=26)
    for head in heads[1:_COLUMNS]:
        table.add_column(head.replace(" ", "\n"), justify="right")
    for row in cells:
        table.add_row(Text(printable(row[0])), *row[1:_COLUMNS])
    console = output()
    console.print(table, soft_wrap=False)
    console.print("\nPercent. distance: task vector, of θ0's length; CKA, cosine: hidden states")
    console.print("beside θ0's; linear: interpolated encoder beside interpolated states.")
