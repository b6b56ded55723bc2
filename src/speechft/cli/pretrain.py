"""`speechft pretrain`: masked prediction of units, from scratch or continued."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechft.cli.values import SET_HELP, settings_from


def command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    init: Annotated[
        str | None, typer.Option(help="ENCODER to go on from, or a configuration (YAML, JSON).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A table, cuts, NAME:ROOT, or synthetic[:PRESET].")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates of one iteration (several: --config).")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Hidden layer to cluster (default: MFCCs).")
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of units (default: 100).")] = None,
    mixing: Annotated[
        float | None,
        typer.Option(help="Share of utterances mixed with others, as in WavLM (default: 0)."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run (default: 0).")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP)] = None,
) -> None:
    """Pre-train an encoder on audio without labels, or continue its pre-training.

    speechft pretrain --init tiny-hubert --data my.csv --layer 3 --steps 5000 --out runs/pretrain
    """
    from speechft.core.settings import read_yaml
    from speechft.stages.pretrain import pretrain
    from speechft.stages.pretraining.settings import PretrainSettings

    base: dict[str, Any] = read_yaml(config) if config else {}
    iteration = {"steps": steps, "layer": layer, "clusters": clusters}
    if any(value is not None for value in iteration.values()):
        base["iterations"] = [{k: v for k, v in iteration.items() if v is not None}]
    given = {"init": init, "data": data, "mixing": mixing, "seed": seed, "out": out}
    folder = pretrain(settings_from(PretrainSettings, "pretrain", given, set_, base))
    typer.echo(folder / "encoder")
