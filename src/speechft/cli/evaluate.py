"""`speechft evaluate`: probe frozen encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

KEPT = ("frames", "pooled", "none")


def command(
    encoders: Annotated[
        list[str],
        typer.Argument(
            help="ENCODER…: folders, files, Hub ids, packaged names: tiny-hubert, tiny-wavlm, "
            "tiny-wav2vec2, tiny-decoar2."
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help=r"A table, cuts, NAME:ROOT, or synthetic[:PRESET\[@LANGUAGE]]; TASK=DATA for one "
            "task; may be repeated."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Of pr, pc, asr, ks, qbe, sid, asv, sd, ic, sf, er; commas between (default: "
            "pr,sid,er,sf)."
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="mini, paper4, superb10, or a label of your own.")
    ] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated (default: 0).")] = None,
    head_size: Annotated[
        str | None,
        typer.Option(help="Heads: 'mini' for small encoders (default), 'superb' for SUPERB's."),
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="clean, or s3prl: with the quirks of published numbers.")
    ] = "clean",
    steps: Annotated[int | None, typer.Option(help="Updates per probe (default: by task).")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes; 0: one per core or GPU.")] = 0,
    launcher: Annotated[str, typer.Option(help="local; slurm, dask: a job per probe.")] = "local",
    store: Annotated[
        str | None,
        typer.Option(
            help="Folder that keeps hidden states for later runs; or pooled, frames, none: what is "
            "kept in memory, as --keep says it."
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Of hidden states: frames (default), pooled (time means) or none."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting: key=value; may be repeated.")
    ] = None,
) -> None:
    """Probe frozen encoders on tasks: a small head on all hidden states, as SUPERB does.

    speechft evaluate tiny-hubert runs/sid/encoder --data synthetic:demo --out scores

    speechft evaluate me/hubert --tasks pr,er --data pr=librispeech:LS --data er=iemocap:IE --out s
    """
    from speechft.cli.values import settings_from
    from speechft.pipeline.evaluation import EvaluateSettings, evaluate
    from speechft.probing.result_files import RESULTS

    if store in KEPT and keep in (None, store):
        store, keep = None, store
    given: dict[str, Any] = {
        "encoders": tuple(encoders),
        "data": tuple(data),
        "out": out,
        "tasks": tasks,
        "suite": suite,
        "seeds": tuple(seed or [0]),
        "head_size": head_size,
        "protocol": protocol,
        "steps": steps,
        "device": device,
        "workers": workers,
        "launcher": launcher,
        "store": store,
        "keep": keep,
    }
    folder = evaluate(settings_from(EvaluateSettings, "evaluate", given, set_))
    typer.echo(folder / RESULTS)
