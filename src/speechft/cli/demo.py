"""`speechft demo`: the packaged recipe, end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechft.cli.run import execute


def command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan with sizes, look for labels; do nothing."),
    ] = False,
    redo: Annotated[
        bool, typer.Option("--redo", help="Replace finished steps whose settings changed.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the recipe; may be repeated.")
    ] = None,
) -> None:
    """Run the packaged recipe: fine-tune, merge, probe and report, in a few minutes.

    speechft demo --out runs/demo
    """
    execute("demo", out, dry_run, redo, set_ or [])
