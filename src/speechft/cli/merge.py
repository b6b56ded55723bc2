"""`speechft merge`: merge a base encoder with tuned ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def _list_methods(wanted: bool) -> None:
    if not wanted:
        return
    from speechft.merging.methods import METHODS

    for method in sorted(METHODS.values(), key=lambda one: bool(one.statistics)):
        typer.echo(f"{method.name}: {method.help}\n    {method.formula}")
        for parameter in method.parameters.values():
            typer.echo(f"    {parameter.name} = {parameter.default}")
        typer.echo(f"    {method.paper}\n")
    raise typer.Exit


def command(
    base: Annotated[
        str | None, typer.Argument(help="θ0: a folder, a file, a Hub id, a packaged name.")
    ] = None,
    tuned: Annotated[
        list[str] | None, typer.Argument(help="One or more fine-tuned encoders θ'.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the merged encoder.")] = None,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            help="0 gives BASE, 1 TUNED (default: the method's, 0.25 for linear). Also '0.1..0.5' "
            "from first to last layer, 'encoder.layers.{8-11}.*=0.5' for a group, '0:1:0.05' for "
            "a sweep; may be repeated."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option(help="How to merge (default: linear).")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A YAML recipe: these options, or mergekit's spelling."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the method: key=value; may be repeated."),
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="One round per TUNED, each on the last result.")
    ] = False,
    weight_norm: Annotated[
        str | None, typer.Option(help="'stored' merges g and v by themselves, 'fused' the kernel.")
    ] = None,
    heads: Annotated[str | None, typer.Option(help="'drop' BASE's heads, or 'keep' them.")] = None,
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
    gram_data: Annotated[
        list[str] | None,
        typer.Option(help="Speech to gather what regmean needs: one for all, or one per TUNED."),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="The result does not depend on it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of random masks.")] = None,
    methods: Annotated[
        bool,
        typer.Option("--methods", callback=_list_methods, is_eager=True, help="List all methods."),
    ] = False,
) -> None:
    """Merge a base encoder with one or more fine-tuned ones.

    speechft merge facebook/hubert-base-ls960 runs/sid --alpha 0.25 --out merged
    """
    del methods
    from speechft.core.settings import apply_overrides, parse_settings
    from speechft.merging.settings import MergeSettings
    from speechft.merging.stage import merge, recipe_values

    given: dict[str, Any] = {
        "base": base,
        "tuned": tuned,
        "out": out,
        "method": method,
        "alpha": alpha,
        "parameters": apply_overrides({}, set_ or []),
        "sequential": sequential,
        "weight_norm": weight_norm,
        "heads": heads,
        "dtype": dtype,
        "max_shard_size": max_shard_size,
        "statistics": statistics,
        "gram_data": gram_data,
        "threads": threads,
        "seed": seed,
    }
    values = recipe_values(config) if config else {}
    absent = (None, False)
    values |= {k: v for k, v in given.items() if not any(v is x for x in absent) and v != {}}
    typer.echo(merge(parse_settings(MergeSettings, values, where=config or "speechft merge")))
