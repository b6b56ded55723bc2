"""`speechft convert`: write an encoder in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    source: Annotated[str, typer.Argument(help="A folder, a file, a Hub id, a packaged name.")],
    target: Annotated[Path, typer.Argument(help="A folder for hf, else a file.")],
    to: Annotated[str, typer.Option(help="hf, s3prl or fairseq.")],
    base: Annotated[
        str | None,
        typer.Option(help="The encoder that SOURCE came from, if it does not say its sizes."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the encoder that is in TARGET's place.")
    ] = False,
) -> None:
    """Write an encoder in another format; every tensor stays bit for bit the same.

    speechft convert hubert_base_ls960.pt hubert-base --to hf
    """
    from speechft.core.settings import parse_settings
    from speechft.encoders.convert import convert
    from speechft.encoders.settings import ConvertSettings

    values = {
        "source": source,
        "target": target,
        "to": to,
        "base": base,
        "overwrite": overwrite,
    }
    typer.echo(convert(parse_settings(ConvertSettings, values, where="speechft convert")))
