"""`speechft finetune`: stage 1 of Speech-FT, and the baselines it is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from speechft.core.artifact import Artifact, read_record
from speechft.core.errors import SettingsError
from speechft.core.logging import get_logger
from speechft.core.seeding import seed_everything
from speechft.data.load import load_data
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.hidden.front_end_cache import KeptFeatures
from speechft.tasks import TASKS
from speechft.tasks.utterance_classes import ClassTask
from speechft.training.distributed import on_main
from speechft.training.finetune.batch_order import updates_of
from speechft.training.finetune.continued_run import refuse_other_units, refuse_other_weights
from speechft.training.finetune.data import TaskData, read_task, rehearsal_cuts
from speechft.training.finetune.run import Run
from speechft.training.finetune.settings import FinetuneSettings, Resolved, task_names
from speechft.training.run_folder import (
    about,
    batches_per_update,
    begin,
    carry_out,
    run_artifact,
    warn_of_other_batches,
)

log = get_logger(__name__)
__all__ = ["FinetuneSettings", "finetune", "task_names"]


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
        SettingsError: unknown task or method setting; another run is at work in the folder, or
            other settings began what is there.
        DataError: the data lacks a split or the labels that a task needs.
        CheckpointError: the encoder cannot be loaded, or what the run would go on from is damaged.
        DivergedError: training came to nothing; `encoder-last-good/` holds the last encoder whose
            weights are finite, where there is one.
        Stopped: Ctrl-C or SIGTERM; the state of this moment has been saved.
    """
    for name in settings.tasks:
        if not TASKS[name].linear() and settings.head_size == "linear":
            raise SettingsError(f"the task {name!r} has no linear head", where="head_size")
    if settings.balanced and not any(issubclass(TASKS[n], ClassTask) for n in settings.tasks):
        raise SettingsError(
            "there are no classes to balance",
            where="balanced",
            expected="a task that gives each utterance a class (sid, er, ic, ks, classify)",
            found=", ".join(settings.tasks),
            hint="leave balanced out",
        )
    artifact = run_artifact(settings.out, "finetune", settings)
    return carry_out(artifact, settings.threads, lambda: _finetune(settings, artifact, kept))


def _finetune(settings: FinetuneSettings, artifact: Artifact, kept: KeptFeatures | None) -> None:
    seed_everything(settings.seed)
    if settings.continued:
        refuse_other_weights(settings.continued, artifact.depends)
    encoder = load_encoder(settings.encoder, context=settings.context)
    if not encoder.front_end_parameters() | encoder.encoder_parameters():
        raise SettingsError(
            "this encoder has no weights to train",
            where=settings.encoder,
            expected="an encoder that was trained",
            hint="evaluate can take it, as the zero point that others are compared with",
        )
    start = {"encoder": encoder.fingerprint()}
    if settings.continued:
        if settings.rehearsal_share and settings.method != "replay":
            refuse_other_units(settings.continued, artifact.depends)
        start["run"] = (read_record(Path(settings.continued)) or {}).get("encoder", "")
    loaded = {spec: load_data(spec) for spec in map(settings.data_of, settings.tasks)}
    drawn = settings.hours, settings.seed, settings.max_seconds
    tasks = {
        name: read_task(TASKS[name], loaded[spec], spec, *drawn)
        for name, spec in zip(settings.tasks, map(settings.data_of, settings.tasks), strict=True)
    }
    if settings.patience and not all(own.dev for own in tasks.values()):
        raise SettingsError(
            "there is no dev split by whose figures the run could end early",
            where="patience",
            expected="a split dev",
            hint="leave patience out",
        )
    if settings.select:
        tasks[settings.task].task.selecting(settings.select)
    rehearsed: list[Cut] = []
    rehearses = settings.rehearsal_data is not None
    if settings.mask_share or (rehearses and settings.method != "replay"):
        encoder.check_mask()
    if settings.rehearsal_data is not None:
        rehearsed = rehearsal_cuts(
            settings.rehearsal_data,
            settings.rehearsal_seconds,
            settings.seed,
            settings.max_seconds,
        )
    together = {"accumulate": batches_per_update(artifact.depends)}
    if settings.continued:
        warn_of_other_batches(Path(settings.continued), together["accumulate"])
    begun = on_main(lambda: (artifact.begun and artifact.before) or {}).get("settings", {})
    resolved = _resolved(settings.model_copy(update=together), encoder, tasks, begun)
    said = {"accumulate": artifact.depends.get("accumulate", 1)}
    artifact.settings = settings = resolved.model_copy(update=said)
    on_main(lambda: begin(artifact))
    run = Run(resolved, encoder, tasks, rehearsed, kept)
    progress = run.train()
    more: dict[str, Any] = {"adapters": run.coverage.to_dict()} if run.coverage else {}
    if progress.micro_batch:
        more["micro_batch"] = progress.micro_batch
    if progress.asked:
        more["front_end_kept"] = round(progress.served / progress.asked, 4)
    if progress.seconds:
        more["waiting"] = round(progress.waiting / progress.seconds, 4)
    products = run.finish(progress)
    on_main(
        lambda: artifact.end(
            products,
            **about(settings, start),
            **more,
            encoder=run.keeper.fingerprint,
            utterances=run.utterances,
            hours=run.hours,
            unreachable=run.unreachable,
            padding=round(run.padding, 4),
            skipped_updates=progress.skipped,
            updates=progress.update,
        )
    )


def _resolved(
    settings: FinetuneSettings,
    encoder: SpeechEncoder,
    tasks: Mapping[str, TaskData],
    begun: Mapping[str, Any],
) -> Resolved:
    """Let data and encoder say what the settings leave open, and tell how long the run will be.

    Args:
        settings: of the run.
        encoder: says what utterances cost.
        tasks: name → task with its utterances.
        begun: settings that this run was begun with; it stays as long as it was to be.
    """

    def cost(cuts: Iterable[Cut]) -> float:
        return fsum(encoder.costs(cut.duration for cut in cuts))

    sizes = [(len(own.cuts), cost(own.cuts)) for own in tasks.values()]
    epochs = settings.epochs
    steps = updates_of(epochs, settings, encoder, tasks) if epochs else None
    dev = fsum(cost(own.dev) for own in tasks.values())
    found = settings.resolved(encoder.hidden_size, sizes, steps, dev)
    open_ = [n for n in ("steps", "evaluate_every") if getattr(settings, n) is None]
    found = found.model_copy(update={name: begun[name] for name in open_ if begun.get(name)})
    hours = fsum(cut.duration for own in tasks.values() for cut in own.cuts) / 3600
    said = "finetune: %s updates on %.2f h of speech, head size %s"
    log.info(said, f"{found.steps:,}", hours, found.head_size)
    without = " ".join(name for name, own in tasks.items() if not own.dev)
    if without:
        log.warning("no dev split for %s, which is not scored while it trains", without)
    return found
