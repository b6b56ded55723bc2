"""`speechft merge`: merge a base encoder with tuned ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    base: Annotated[str, typer.Argument(help="θ0: a folder, a file, a Hub id, a packaged name.")],
    tuned: Annotated[list[str], typer.Argument(help="One or more fine-tuned encoders θ'.")],
    out: Annotated[Path, typer.Option(help="Folder of the merged encoder.")],
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            help="0 gives BASE, 1 TUNED (default: the method's, 0.25 for linear). Also '0.1..0.5' "
            "from first to last layer, 'encoder.layers.{8-11}.*=0.5' for groups; may be repeated."
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="How to merge.")] = "linear",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the method: key=value; may be repeated."),
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="One round per TUNED, each on the last result.")
    ] = False,
    weight_norm: Annotated[
        str, typer.Option(help="'stored' merges g and v by themselves, 'fused' the kernel.")
    ] = "stored",
    heads: Annotated[str, typer.Option(help="'drop' BASE's heads, or 'keep' them.")] = "drop",
    dtype: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16; BASE's if not given.")
    ] = None,
    max_shard_size: Annotated[
        str | None, typer.Option(help="Split larger weights into files of this size (5GB).")
    ] = None,
    statistics: Annotated[
        list[str] | None,
        typer.Option(help="Per TUNED, the file with data for regmean or fisher."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="The result does not depend on it.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of random masks.")] = 0,
) -> None:
    """Merge a base encoder with one or more fine-tuned ones.

    speechft merge facebook/hubert-base-ls960 runs/sid --alpha 0.25 --out merged
    """
    from speechft.core.settings import apply_overrides, parse_settings
    from speechft.stages.merge import MergeSettings, merge

    values: dict[str, Any] = {
        "base": base,
        "tuned": tuned,
        "out": out,
        "method": method,
        "alpha": tuple(alpha) if alpha else None,
        "parameters": apply_overrides({}, set_ or []),
        "sequential": sequential,
        "weight_norm": weight_norm,
        "heads": heads,
        "dtype": dtype,
        "max_shard_size": max_shard_size,
        "statistics": statistics or (),
        "threads": threads,
        "seed": seed,
    }
    typer.echo(merge(parse_settings(MergeSettings, values, where="speechft merge")))
