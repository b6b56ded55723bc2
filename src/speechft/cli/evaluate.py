"""`speechft evaluate`: probe frozen encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    encoders: Annotated[
        list[str], typer.Argument(help="ENCODER…: folders, files, Hub ids, packaged names.")
    ],
    data: Annotated[str, typer.Option(help="A table, cuts, NAME:ROOT, or synthetic[:PRESET].")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    tasks: Annotated[str, typer.Option(help="Ids of tasks with commas between.")] = "pr,sid,er,sf",
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated (default: 0).")] = None,
    size: Annotated[
        str, typer.Option(help="Heads: 'mini' for small encoders, 'superb' for SUPERB's.")
    ] = "mini",
    steps: Annotated[int | None, typer.Option(help="Updates per probe (default: by task).")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: key=value; may be repeated.")
    ] = None,
) -> None:
    """Probe frozen encoders on tasks: a small head on all hidden states, as SUPERB does.

    speechft evaluate tiny-hubert runs/sid/encoder --data synthetic:demo --out scores
    """
    from speechft.core.settings import apply_overrides, parse_settings
    from speechft.stages.evaluate import RESULTS, EvaluateSettings, evaluate

    values: dict[str, Any] = {
        "encoders": tuple(encoders),
        "data": data,
        "out": out,
        "tasks": tasks,
        "seeds": tuple(seed or [0]),
        "size": size,
        "steps": steps,
        "device": device,
        "workers": workers,
    }
    values = apply_overrides(values, set_ or [])
    folder = evaluate(parse_settings(EvaluateSettings, values, where="speechft evaluate"))
    typer.echo(folder / RESULTS)
