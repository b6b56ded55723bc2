"""`speechft check encoder`."""

from __future__ import annotations

from typing import Annotated

from speechft.cli.console import output
from speechft.cli.options import Own
from speechft.core.settings import Positional


class CheckEncoderOptions(Own):
    """Which encoder to check.

    Args:
        encoder: `module:Class` of your own, or an ENCODER.
    """

    encoder: Annotated[str, Positional]


SETTINGS = {"check encoder": CheckEncoderOptions}


def command(options: CheckEncoderOptions, _overrides: list[str]) -> int:
    """Show what was found; 4 where a check does not hold."""
    from rich.table import Table

    from speechft.encoders.check import check

    findings = check(options.encoder)
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        table.add_row("ok" if finding.passed else "FAILED", finding.name, finding.found)
    output().print(table)
    return 0 if all(finding.passed for finding in findings) else 4
