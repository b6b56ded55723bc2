"""`speechft push`: upload an encoder to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    folder: Annotated[Path, typer.Argument(help="The encoder's folder.")],
    repo: Annotated[str, typer.Argument(help="Where it goes: OWNER/NAME.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.")
    ] = False,
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="Results of `speechft evaluate` for the card; may be repeated."),
    ] = None,
    message: Annotated[str, typer.Option(help="Commit message.")] = (
        "Upload an encoder with speechft"
    ),
) -> None:
    """Upload an encoder with its card and provenance to the Hugging Face Hub.

    speechft push merged me/hubert-base-speech-ft
    """
    from speechft.core.settings import parse_settings
    from speechft.reporting.push import push
    from speechft.reporting.settings import PushSettings

    values = {
        "folder": folder,
        "repo": repo,
        "private": private,
        "scores": scores or (),
        "message": message,
    }
    typer.echo(push(parse_settings(PushSettings, values, where="speechft push")))
