"""What `speechft analyze` shows: weights and hidden states beside θ0's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechft.cli.console import output

if TYPE_CHECKING:
    from speechft.analysis.settings import AnalyzeSettings


_COLUMNS = 9  # that fit beside each other; all are in the Markdown


def show(folder: Path, _settings: AnalyzeSettings) -> None:
    """Print an analysis as a table of 80 columns."""
    from rich.table import Table

    from speechft.analysis.settings import RECORDS
    from speechft.analysis.table import FIGURE, rows
    from speechft.core.files import read_jsonl

    heads, cells = rows(read_jsonl(folder / RECORDS))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column(heads[0], overflow="fold", max_width=26)
    for head in heads[1:_COLUMNS]:
        table.add_column(head.replace(" ", "\n"), justify="right")
    for row in cells:
        table.add_row(row[0], *row[1:_COLUMNS])
    console = output()
    console.print(table, soft_wrap=False)
    console.print("\nPercent. distance: task vector, of θ0's length; CKA, cosine: hidden states")
    console.print("beside θ0's; linear: interpolated encoder beside interpolated states.")
    console.print(f"\nPage: {folder / 'analysis.md'}   Figure: {folder / FIGURE}")
