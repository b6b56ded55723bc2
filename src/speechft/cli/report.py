"""What `speechft report` shows: findings, and the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from speechft.cli.console import output

if TYPE_CHECKING:
    from speechft.reporting.settings import ReportSettings


def show(path: Path, settings: ReportSettings) -> None:
    """Print findings and table, and where the page is."""
    show_runs(settings.runs, path)


def show_runs(runs: tuple[Path, ...], path: Path) -> None:
    """Print the findings and the table of some runs, and where their page is."""
    from speechft.reporting.findings import findings
    from speechft.reporting.page import terminal_table
    from speechft.reporting.stage import comparison_of

    comparison, console = comparison_of(runs), output()
    console.print()
    console.print(terminal_table(comparison), soft_wrap=False)
    console.print()
    for finding in findings(comparison):
        console.print(finding.headline, soft_wrap=False)
    console.print(f"\nReport: {path}")
