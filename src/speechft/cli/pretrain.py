"""`speechft pretrain`: pre-training on audio alone, from scratch or continued."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from speechft.cli.values import SET_HELP, settings_from

MASKED = "masked-prediction"


def command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    init: Annotated[
        str | None, typer.Option(help="ENCODER to go on from, or a configuration (YAML, JSON).")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A table, cuts, NAME:ROOT, or synthetic[:PRESET[@LANGUAGE]].")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="masked-prediction, contrastive or reconstruction (default: masked-prediction)."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates; of one iteration (several: --config).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate (default: 5e-4).")
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Hidden layer to cluster (default: MFCCs).")
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of units (default: 100).")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="ENCODER whose layer is clustered (default: the own one).")
    ] = None,
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
    given: dict[str, Any] = {"init": init, "data": data, "objective": objective, "mixing": mixing}
    given |= {"seed": seed, "out": out}
    length = {"steps": steps, "learning_rate": learning_rate}
    iteration: dict[str, Any] = {"layer": layer, "clusters": clusters, "teacher": teacher}
    if (objective or base.get("objective", MASKED)) == MASKED:
        iteration |= length
    else:
        given |= length
    if any(value is not None for value in iteration.values()):
        base["iterations"] = [{k: v for k, v in iteration.items() if v is not None}]
    folder = pretrain(settings_from(PretrainSettings, "pretrain", given, set_, base))
    typer.echo(folder / "encoder")
