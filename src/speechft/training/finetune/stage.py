"""`speechft finetune`: stage 1 of Speech-FT, and the baselines it is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from speechft.core.logging import get_logger
from speechft.core.provenance import claim, is_done, write_provenance
from speechft.core.seeding import seed_everything
from speechft.data.sources import load_data
from speechft.encoders import load_encoder
from speechft.hidden.front_end import KeptFeatures
from speechft.tasks import TASKS
from speechft.training.finetune.data import content, read_task, rehearsal_cuts
from speechft.training.finetune.rehearsal import check_maskable
from speechft.training.finetune.run import Run
from speechft.training.finetune.settings import FinetuneSettings, task_names

__all__ = ["FinetuneSettings", "finetune", "task_names"]

log = get_logger(__name__)


def finetune(settings: FinetuneSettings, kept: KeptFeatures | None = None) -> Path:
    """Fine-tune an encoder on one task, or on several together; resumes a run that was stopped.

    Args:
        settings: encoder, data, task, method and how long.
        kept: features of the frozen CNN front end that further runs in this process share.

    Returns:
        The run's folder: `encoder/` (θ', the last one), `encoder-best/` (best on dev),
        `encoder-at-20/` (early ones that were asked for), `head.safetensors`, `task.json` (of
        several tasks `head-pr.safetensors`, `task-pr.json`, …), `metrics.jsonl`, TensorBoard
        events, `checkpoints/`.

    Raises:
        SettingsError: unknown task or method setting.
        DataError: the data lacks a split or the labels that a task needs.
        CheckpointError: the encoder cannot be loaded.
    """
    plain = settings.model_dump(mode="json", exclude={"out"})
    kinds = {name: TASKS[name] for name in settings.tasks}
    seed_everything(settings.seed)
    encoder = load_encoder(settings.encoder)
    start = encoder.fingerprint()
    data = load_data(settings.data)
    spec, hours, seed = settings.data, settings.hours, settings.seed
    tasks = {name: read_task(kind, data, spec, hours, seed) for name, kind in kinds.items()}
    rehearsed: list[Cut] = []
    if settings.rehearsal_data is not None:
        check_maskable(encoder)
        rehearsed = rehearsal_cuts(
            settings.rehearsal_data, settings.rehearsal_seconds, settings.seed
        )
    spoken = [cut for one in tasks.values() for cut in (*one.cuts, *one.dev)]
    inputs: dict[str, Any] = {"encoder": start, "utterances": content(spoken)}
    if rehearsed:
        inputs["rehearsed"] = content(rehearsed)
    claim(settings.out, stage="finetune", settings={**plain, **inputs})
    if is_done(settings.out, stage="finetune", settings=plain):
        log.info("finetune: already done in %s", settings.out)
        return settings.out
    run = Run(settings, encoder, tasks, rehearsed, kept)
    run.train()
    tuned = run.finish()
    write_provenance(
        settings.out,
        stage="finetune",
        settings=plain,
        parents={"encoder": start},
        encoder=tuned,
        utterances=run.utterances,
        hours=round(run.hours, 3),
        **({"adapters": run.coverage.to_dict()} if run.coverage else {}),
    )
    return settings.out
