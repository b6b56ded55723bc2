"""`speechft pretrain`: pre-training on audio alone, from scratch or continued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from speechft.cli.values import SET_HELP, settings_from

MASKED = "masked-prediction"


def command(
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    init: Annotated[
        str | None,
        typer.Option(help="ENCODER to go on from, or an encoder's configuration (YAML, JSON)."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="A table, cuts, NAME:ROOT, synthetic, or synthetic:PRESET with or without "
            "@LANGUAGE."
        ),
    ] = None,
    front_end: Annotated[
        str | None,
        typer.Option(help="ENCODER whose CNN front end a new encoder begins with."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="masked-prediction, contrastive or reconstruction (default: the family's own)."
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates (several iterations: --config).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak rate (default: 5e-4; 1e-4 to go on from ENCODER).")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Hidden layer to cluster, or mfcc (default: mfcc; to go on from ENCODER three "
            "quarters of the way up, 9 of 12)."
        ),
    ] = None,
    clusters: Annotated[int | None, typer.Option(help="Number of units (default: 100).")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="ENCODER whose layer is clustered (default: the own one).")
    ] = None,
    mixing: Annotated[
        float | None,
        typer.Option(help="Share of utterances mixed with others, as in WavLM (default: 0)."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="warmup-decay, stable or constant (default: warmup-decay; stable to go on from "
            "ENCODER)."
        ),
    ] = None,
    freeze_front_end: Annotated[
        bool | None,
        typer.Option(
            "--freeze-front-end/--train-front-end",
            help="Whether the CNN front end stays as it is (default: only to go on from ENCODER).",
        ),
    ] = None,
    head_warmup: Annotated[
        float | None,
        typer.Option(
            help="Share of the updates that train the head alone (default: 0; 0.1 to go on from "
            "ENCODER)."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run (default: 0).")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP)] = None,
) -> None:
    """Pre-train an encoder on audio without labels, or continue its pre-training.

    speechft pretrain --init tiny-hubert --data synthetic:languages@es --steps 1000 --out runs/es
    """
    from speechft.core.yaml12 import read_yaml
    from speechft.training.pretrain.settings import PretrainSettings
    from speechft.training.pretrain.stage import pretrain

    base: dict[str, Any] = read_yaml(config) if config else {}
    given: dict[str, Any] = {"init": init, "data": data, "objective": objective, "mixing": mixing}
    given |= {"front_end": front_end, "schedule": schedule, "freeze_front_end": freeze_front_end}
    given |= {"head_warmup": head_warmup, "seed": seed, "out": out}
    length = {"steps": steps, "learning_rate": learning_rate}
    units = {"layer": layer, "clusters": clusters, "teacher": teacher}
    named = objective or base.get("objective", MASKED if "iterations" in base else None)
    if named == MASKED or any(units.values()):
        iteration = {k: v for k, v in {**length, **units}.items() if v is not None}
        base |= {"iterations": [{**_only_round(base, config), **iteration}]} if iteration else {}
    else:
        given |= length
    folder = pretrain(settings_from(PretrainSettings, "pretrain", given, set_, base))
    typer.echo(folder / "encoder")


def _only_round(base: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """Give the one iteration that a configuration has, or nothing.

    Raises:
        SettingsError: it has several, and nobody knows which of them the options mean.
    """
    from speechft.core.errors import SettingsError

    rounds = base.get("iterations") or [{}]
    if not isinstance(rounds, list) or not all(isinstance(one, dict) for one in rounds):
        return {}
    if len(rounds) > 1:
        raise SettingsError(
            f"the configuration has {len(rounds)} iterations, and the options are of one",
            where=config,
            expected="--set iterations.N.KEY=VALUE, N counted from 0",
            hint=f"for the last one, say --set iterations.{len(rounds) - 1}.steps=1000",
        )
    return dict(rounds[0])
