"""`speechft evaluate` with several processes: encoders, tasks and seeds as jobs.

Jobs of one encoder share its passes through a folder of hidden states: whoever comes first computes
what is missing. Where the user has given none, several processes share a temporary one.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from speechft.core.devices import named_device
from speechft.core.launch_settings import LaunchSettings
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.hidden.front_end_cache import KeptFeatures
from speechft.pipeline.launchers import start_workers
from speechft.probing import evaluate as probing
from speechft.probing.failed_jobs import Failure, reported
from speechft.probing.inputs import open_encoder, read_all
from speechft.probing.job import Evaluator, Outcome, find_refused
from speechft.probing.protocol import protocol_of
from speechft.probing.settings import EvaluateSettings

__all__ = ["EvaluateSettings", "evaluate"]

STATES: Final = ".states"
# Below this much audio times encoders, starting processes takes longer than it saves.
_SECONDS_WORTH_PROCESSES: Final = 600.0
log = get_logger(__name__)


def evaluate(settings: EvaluateSettings, kept: KeptFeatures | None = None) -> Path:
    """Probe encoders on tasks, as `speechft.probing.evaluate` does, in several processes.

    Args:
        settings: encoders, data, tasks, how to probe, and who does it.
        kept: front-end features that further evaluations in this process share.

    Returns:
        The folder of the results.

    Raises:
        SettingsError: unknown task, memory is missing, or whoever should do the work is not there.
        DataError: the data lacks a split or labels, or audio cannot be read.
        CheckpointError: an encoder is not there or cannot be loaded.
        RuntimeError: a job ended otherwise.
    """
    return probing.evaluate(settings, kept, _do_jobs)


class _Job(NamedTuple):
    """What a process does at a time: one encoder, on all of its tasks and seeds or on one."""

    encoder: int
    task: str | None = None
    seed: int | None = None


def _do_jobs(evaluator: Evaluator, on_done: Callable[[int], None]) -> list[Outcome] | None:
    """Do all jobs in other processes; None where this one alone should do them."""
    settings = evaluator.settings
    count = _count(evaluator)
    if settings.launcher == "local" and count == 1:
        return None
    outcomes = [Outcome() for _ in settings.encoders]
    gpus = torch.cuda.device_count() if evaluator.device == "cuda" else 0
    states = settings.out / STATES
    launch = LaunchSettings(launcher=settings.launcher, slurm=settings.slurm, dask=settings.dask)
    with (
        _shared_folder(settings, states),
        start_workers(launch, settings.out, workers=count, threads=1, gpus=gpus) as workers,
    ):
        jobs, orders, store = _jobs(evaluator, count, states, outcomes)
        places = {"out": settings.out.absolute(), "store": store and store.absolute()}
        values = settings.model_copy(update=places).model_dump(mode="json")
        futures = {workers.submit(probe_in_worker, values, *job): job for job in jobs}
        sizes = {job: _size(evaluator, job) for job in jobs}
        total = sum(len(evaluator.jobs_of(spec)) for spec in settings.encoders)
        done = total - sum(sizes.values())  # by an earlier call
        on_done(done)
        for future in as_completed(futures):
            done += sizes[futures[future]]
            on_done(sizes[futures[future]])
            log.info("evaluate: %d of %d jobs have ended", done, total)
    for future, job in futures.items():
        _collect(outcomes[job.encoder], settings, job, future)
    for outcome, order in zip(outcomes, orders, strict=True):
        outcome.keys = [key for key in order if key in outcome.keys] or outcome.keys
    return outcomes


def _size(evaluator: Evaluator, job: _Job) -> int:
    """Give how many of the evaluation's jobs (encoder, task, seed) a process does at a time."""
    whole = job.task is None
    return len(evaluator.jobs_of(evaluator.settings.encoders[job.encoder])) if whole else 1


@contextmanager
def _shared_folder(settings: EvaluateSettings, states: Path) -> Iterator[None]:
    """Remove the temporary folder of hidden states, unless jobs go on elsewhere that need it."""
    try:
        yield
    except BaseException:
        if settings.launcher == "local":
            shutil.rmtree(states, ignore_errors=True)
        raise
    shutil.rmtree(states, ignore_errors=True)


def _count(evaluator: Evaluator) -> int:
    """Give the number of processes, whatever part of the work is done already."""
    settings = evaluator.settings
    encoders = settings.encoders
    cells = sum(len(evaluator.jobs_of(spec)) for spec in encoders)
    gpus = torch.cuda.device_count() if evaluator.device == "cuda" else 0
    if settings.workers:
        return min(settings.workers, cells)
    if gpus:
        return min(gpus, cells)
    if evaluator.device != "cpu" or evaluator.seconds * len(encoders) < _SECONDS_WORTH_PROCESSES:
        return 1
    return min(os.cpu_count() or 1, cells)


def _jobs(
    evaluator: Evaluator, count: int, states: Path, outcomes: list[Outcome]
) -> tuple[list[_Job], list[list[str]], Path | None]:
    """Give the jobs, each encoder's cells in order, and the folder that its jobs share.

    Many encoders are shared out whole, as long as nobody has to wait for the last of them; what
    leaves this machine is one probe at a time, and only what is missing.
    """
    settings = evaluator.settings
    indices = range(len(settings.encoders))
    orders: list[list[str]] = [[] for _ in indices]
    by_size = sorted(indices, key=lambda n: -len(evaluator.jobs_of(settings.encoders[n])))
    whole = [_Job(n) for n in by_size], orders, settings.store
    if settings.launcher == "local" and len(settings.encoders) >= count:
        return whole
    jobs: list[_Job] = []
    for index, spec in enumerate(settings.encoders):
        try:
            encoder = open_encoder(spec, "cpu", settings.context)
            protocol_of(settings.protocol).prepare(encoder)
        except Exception as error:  # it stops no other encoder
            outcomes[index].failures.append(reported(error, spec.label))
            continue
        if settings.store is None and not _have_room(evaluator, encoder, states):
            return whole
        cells = evaluator.cells(encoder, evaluator.jobs_of(spec))
        orders[index] = [cell.key for cell in cells.values()]
        outcomes[index].keys = [cell.key for cell in cells.values() if evaluator.is_done(cell)]
        jobs += [_Job(index, *own) for own, cell in cells.items() if not evaluator.is_done(cell)]
    return jobs, orders, settings.store or states


def _have_room(evaluator: Evaluator, encoder: SpeechEncoder, states: Path) -> bool:
    """Say whether a temporary folder can hold an encoder's states of all data."""
    if evaluator.settings.keep != "frames":
        return False
    shared = evaluator.settings.model_copy(update={"store": states})
    wanted = [(data, data.names) for data in evaluator.data]
    return not find_refused(shared, encoder, wanted, evaluator.say)


def probe_in_worker(
    values: dict[str, Any], encoder: int, task: str | None, seed: int | None
) -> Outcome:
    """Do one job, in another process and perhaps on another machine.

    Args:
        values: the settings as plain values.
        encoder: its index.
        task: id; none for all.
        seed: of the probe; none for all.
    """
    settings = EvaluateSettings.model_validate(values)
    evaluator = _evaluator(settings.model_dump_json(), task and settings.data_of(task))
    tasks, seeds = None if task is None else [task], None if seed is None else [seed]
    return evaluator.run(settings.encoders[encoder], tasks=tasks, seeds=seeds)


@functools.lru_cache(maxsize=1)
def _evaluator(text: str, data: str | None) -> Evaluator:
    """Read what a process works with, which jobs that follow each other mostly share.

    Args:
        text: the settings as JSON.
        data: the only DATA that is read; none for all.
    """
    settings = EvaluateSettings.model_validate_json(text)
    task = next((task for task in settings.tasks if settings.data_of(task) == data), None)
    return Evaluator(settings, read_all(settings, only=task), named_device(settings.device))


def _collect(outcome: Outcome, settings: EvaluateSettings, job: _Job, future: Future[Any]) -> None:
    """Add one job's outcome to its encoder's."""
    label = settings.encoders[job.encoder].label
    own = (job.task or "", job.seed)
    try:
        found: Outcome = future.result()
    except Exception as error:  # whatever ended the job; the others are kept
        outcome.failures.append(reported(error, label, *own))
        return
    outcome.keys += found.keys
    outcome.failures += [f if f.task else Failure(label, *own, f.error) for f in found.failures]
    outcome.passes.utterances += found.passes.utterances
    outcome.passes.audio_seconds += found.passes.audio_seconds
    outcome.seconds += found.seconds
