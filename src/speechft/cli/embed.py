"""`speechft embed`: write the hidden states of audio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    encoder: Annotated[str, typer.Argument(help="A folder, a file, a Hub id, a packaged name.")],
    audio: Annotated[list[str], typer.Argument(help="Audio files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="A .safetensors, .npz or .npy file.")],
    layer: Annotated[
        list[int] | None,
        typer.Option(help="0 the transformer's input, -1 the output; repeatable; default all."),
    ] = None,
    pooled: Annotated[bool, typer.Option("--pooled", help="Means over time, not frames.")] = False,
    dtype: Annotated[str, typer.Option(help="float32 or float16 numbers.")] = "float32",
    batch_seconds: Annotated[float, typer.Option(help="Audio per batch, with padding.")] = 60.0,
    max_seconds: Annotated[float, typer.Option(help="Longest file that is taken.")] = 120.0,
    precision: Annotated[str, typer.Option(help="Compute in float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    base: Annotated[
        str | None,
        typer.Option(help="The encoder that ENCODER came from, if it does not say its sizes."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that cannot be used; say which.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace any file that is in the place of --out.")
    ] = False,
) -> None:
    """Write the hidden states of audio files, in batches of similar duration.

    speechft embed tiny-hubert recordings/ --out states.safetensors --layer 4
    """
    from speechft.core.settings import parse_settings
    from speechft.prediction.embed import embed
    from speechft.prediction.settings import EmbedSettings

    values = {
        "encoder": encoder,
        "audio": tuple(audio),
        "out": out,
        "layers": tuple(layer) if layer else None,
        "pooled": pooled,
        "dtype": dtype,
        "batch_seconds": batch_seconds,
        "max_seconds": max_seconds,
        "precision": precision,
        "device": device,
        "base": base,
        "skip_bad": skip_bad,
        "overwrite": overwrite,
    }
    typer.echo(embed(parse_settings(EmbedSettings, values, where="speechft embed")))
