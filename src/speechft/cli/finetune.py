"""`speechft finetune`: fine-tune an encoder on one task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechft.cli.values import SET_HELP, settings_from


def command(
    encoder: Annotated[
        str,
        typer.Option(
            help="θ0: folder, file, Hub id or packaged name: tiny-hubert, tiny-wavlm, "
            "tiny-wav2vec2, tiny-decoar2."
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            help="asr, pr, pc, sid, asv, sd, er, ic, ks, sf; several together with commas between."
        ),
    ],
    data: Annotated[
        str, typer.Option(help=r"A table, cuts, NAME:ROOT, or synthetic[:PRESET\[@LANGUAGE]].")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    hours: Annotated[
        float | None, typer.Option(help="Train on so many hours of the data (default: all).")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Updates (default: 10000).")] = None,
    method: Annotated[
        str | None, typer.Option(help="stable (default), regular, l2sp, lora or dora.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak (default: 1e-4).")] = None,
    keep_at: Annotated[
        list[float] | None,
        typer.Option(help="Also keep the encoder after this share of the updates; repeatable."),
    ] = None,
    rehearsal_share: Annotated[
        float | None,
        typer.Option(help="Share of batches that go on with pre-training (default: 0)."),
    ] = None,
    rehearsal_data: Annotated[str | None, typer.Option(help="DATA for these batches.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run (default: 0).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help=SET_HELP)] = None,
) -> None:
    """Fine-tune an encoder on one task, or on several at once; stage 1 of Speech-FT.

    speechft finetune --encoder tiny-hubert --task sid --data synthetic --steps 600 --out runs/sid
    """
    from speechft.training.finetune.settings import FinetuneSettings
    from speechft.training.finetune.stage import finetune

    given = {
        "encoder": encoder,
        "task": task,
        "data": data,
        "hours": hours,
        "out": out,
        "steps": steps,
        "method": method,
        "learning_rate": learning_rate,
        "keep_at": keep_at or None,
        "rehearsal_share": rehearsal_share,
        "rehearsal_data": rehearsal_data,
        "seed": seed,
    }
    folder = finetune(settings_from(FinetuneSettings, "finetune", given, set_))
    typer.echo(folder / "encoder")
