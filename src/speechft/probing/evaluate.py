"""`speechft evaluate`: probe frozen encoders, SUPERB-style."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from speechft.core.artifact import Artifact, dependencies
from speechft.core.devices import named_device, usable_device
from speechft.core.files import write_json
from speechft.core.logging import get_logger, progress_bar
from speechft.hidden.front_end import KeptFeatures
from speechft.probing.cells import version_of
from speechft.probing.data import read_all
from speechft.probing.encoders import open_sweeps, refuse_absent
from speechft.probing.failures import raise_failures
from speechft.probing.job import Evaluator
from speechft.probing.outcome import Outcome
from speechft.probing.plans import check_plans
from speechft.probing.result_files import GRID, RESULTS
from speechft.probing.results import (
    CELLS,
    cell_times,
    note_data,
    refuse_loss,
    weights_of,
    write_results,
)
from speechft.probing.settings import EncoderSpec, EvaluateSettings

__all__ = ["EncoderSpec", "EvaluateSettings", "evaluate"]

TIMING: Final = "timing.json"
FAILURES: Final = "failures.json"
# Does the jobs in other processes and calls back after each; None where this one should do them.
Others = Callable[[Evaluator, Callable[[], None]], list[Outcome] | None]
_logger = get_logger(__name__)


def evaluate(
    settings: EvaluateSettings, kept: KeptFeatures | None = None, others: Others | None = None
) -> Path:
    """Probe encoders on tasks; what is done is kept, what was stopped goes on.

    Every encoder is frozen and reads every utterance once. For each task and seed a head on the
    softmax-weighted sum of its hidden states is trained with every learning rate of the grid; the
    dev split chooses rate and update, and the test split is scored once. Every encoder, task and
    seed is a job of its own: one that fails stops no other, and the next call does what is missing.
    Only an encoder that is not there is refused before any work.

    Args:
        settings: encoders, data, tasks and how to probe.
        kept: front-end features that further evaluations in this process share.
        others: does the jobs in other processes; none to do all in this one.

    Returns:
        The folder: `results.jsonl` (one record per metric), `grid.jsonl` (every learning rate on
        dev), `cells/` (each encoder, task and seed, with predictions), `timing.json`, and
        `failures.json` where jobs failed.

    Raises:
        SettingsError: unknown task, memory is missing, or results that are there would be lost.
        DataError: the data lacks a split or labels, or audio cannot be read.
        CheckpointError: an encoder is not there or cannot be loaded.
        RuntimeError: a job ended otherwise.
    """
    begin = time.perf_counter()
    check_plans(settings)
    settings.refuse_missing_files()
    opened = settings.model_copy(update={"encoders": open_sweeps(settings.encoders)})
    refuse_absent(opened.encoders)  # before the data is read, which may take long
    device = named_device(settings.device)
    if settings.launcher == "local":  # else the jobs' machines have another
        device = str(usable_device(device))
    artifact, settings = evaluate_artifact(settings), opened
    if artifact.done:
        note_data(settings)
        _logger.info("evaluate: already done in %s", settings.out)
        return settings.out
    evaluator = Evaluator(settings, read_all(settings), device, kept=kept)
    artifact.refuse_other_stage()
    refuse_loss(evaluator)
    if changes := artifact.changes():
        _logger.info("evaluate: what differs from before: %s", "; ".join(changes))
    artifact.begin(replace=True)
    outcomes = _run_all(evaluator, others)
    failures = [f for outcome in outcomes for f in outcome.failures]
    keys = [outcome.keys for outcome in outcomes]
    if any(keys):
        write_results(evaluator, keys, whole=not failures)
    _write_about(settings, outcomes, time.perf_counter() - begin)
    raise_failures(failures, _jobs(settings))
    artifact.end(
        [RESULTS, GRID, *(f"{CELLS}/{key}" for own in keys for key in own)],
        settings=settings.model_dump(mode="json", exclude={"out"}, exclude_defaults=True)
        | {"tasks": settings.tasks, "seeds": settings.seeds},
        parents=weights_of(settings.out, settings.encoders, keys),
        data=evaluator.data_ids,
    )
    return settings.out


def evaluate_artifact(
    settings: EvaluateSettings, known: Mapping[str, str] | None = None
) -> Artifact:
    """Give the folder of the results, with all that they depend on.

    Args:
        settings: of the evaluation.
        known: name of an encoder or of data → identity, where it is still to be made.
    """
    versions = {task: version_of(task, settings.protocol) for task in settings.tasks}
    depends = {**dependencies(settings, known), "versions": versions}
    return Artifact(settings.out, "evaluate", depends)


def _write_about(settings: EvaluateSettings, outcomes: Sequence[Outcome], seconds: float) -> None:
    """Write how long all took, and what failed."""
    labelled = zip(settings.encoders, outcomes, strict=True)
    about = {
        "seconds": round(seconds, 2),
        "encoding": {spec.label: outcome.encoding for spec, outcome in labelled},
        "cells": cell_times(settings.out, [outcome.keys for outcome in outcomes]),
    }
    write_json(settings.out / TIMING, about)
    (settings.out / FAILURES).unlink(missing_ok=True)
    failures = [f.to_dict() for outcome in outcomes for f in outcome.failures]
    if failures:
        write_json(settings.out / FAILURES, failures)


def _jobs(settings: EvaluateSettings) -> int:
    return sum(len(settings.tasks_of(s)) for s in settings.encoders) * len(settings.seeds)


def _run_all(evaluator: Evaluator, others: Others | None) -> list[Outcome]:
    settings = evaluator.settings
    with progress_bar() as bar:
        task = bar.add_task("evaluate", total=_jobs(settings), note="")
        if others is not None:
            done_by_others = others(evaluator, lambda: bar.advance(task))
            if done_by_others is not None:
                return done_by_others
        evaluator.note = lambda text: bar.update(task, note=text)
        result: list[Outcome] = []
        for spec in settings.encoders:
            bar.update(task, note=spec.label)
            result.append(evaluator.run(spec, lambda: bar.advance(task)))
            done, failed = _counts(settings, result)
            bar.update(task, completed=done + failed)
            _logger.info("evaluate: %s", _progress(done, failed, _jobs(settings)))
        return result


def _counts(settings: EvaluateSettings, outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Give how many jobs of the first encoders are done, and how many failed."""
    jobs = [len(settings.tasks_of(spec)) * len(settings.seeds) for spec in settings.encoders]
    done = sum(len(own.keys) for own in outcomes)
    return done, sum(jobs[: len(outcomes)]) - done


def _progress(done: int, failed: int, jobs: int) -> str:
    """Say how far the work is; failed jobs count as failed."""
    if not failed:
        return f"{done} of {jobs} jobs done"
    left = jobs - done - failed
    return f"{done} done, {failed} failed" + (f", {left} to do" if left else "")
