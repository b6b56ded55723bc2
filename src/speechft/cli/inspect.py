"""`speechft inspect`: show what a checkpoint holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from speechft.stages.inspect import Inspection


def command(
    path: Annotated[str, typer.Argument(help="A folder, a file, a Hub id, a packaged name.")],
    base: Annotated[
        str | None,
        typer.Option(help="The encoder that PATH came from, where PATH does not say its sizes."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a checkpoint holds, and what a merge would do with it."""
    from speechft.core.settings import parse_settings
    from speechft.stages.inspect import InspectSettings, inspect

    values = {"path": path, "base": base}
    found = inspect(parse_settings(InspectSettings, values, where="speechft inspect"))
    if json:
        from json import dumps

        typer.echo(dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)


def _show(found: Inspection) -> None:
    from rich.table import Table

    from speechft.cli.values import output

    console = output()
    facts = Table.grid(padding=(0, 2))
    rows = {
        "where": found.where,
        "format": found.format,
        "family": found.family,
        "style": found.style,
        "size": f"{found.parameters / 1e6:.2f} M parameters, {found.bytes / 1e6:.1f} MB on disk",
        "layers": f"{found.layers} of width {found.hidden_size}, {found.attention_heads} heads",
        "frames": f"every {found.hop} samples ({found.hop / 16:.0f} ms)",
        "types": ", ".join(f"{count} × {dtype}" for dtype, count in found.dtypes.items()),
        "input": "normalised per utterance" if found.normalize_input else "as it is",
        "hash": found.fingerprint,
    }
    for name, text in rows.items():
        facts.add_row(name, text)
    console.print(facts)
    table = Table("tensors", "count", "numbers", "in a merge", box=None, pad_edge=False)
    for group in found.groups:
        table.add_row(group.name, str(group.tensors), f"{group.parameters:,}", group.merge)
    console.print()
    console.print(table)
