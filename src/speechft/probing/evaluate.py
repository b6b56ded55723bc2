"""`speechft evaluate`: probe frozen encoders, SUPERB-style; what is there is not lost unasked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import Artifact, hash_values
from speechft.core.devices import named_device, usable_device
from speechft.core.errors import SettingsError
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl
from speechft.core.locks import work_alone
from speechft.core.logging import get_logger
from speechft.core.paths import first_of, in_the_way
from speechft.core.progress import progress_bar
from speechft.hidden.front_end_cache import KeptFeatures
from speechft.metrics.per_class import class_report
from speechft.probing.cells import CELL, CELLS, PREDICTIONS, TIMING
from speechft.probing.failed_jobs import raise_failures
from speechft.probing.hardly_learned import HARDLY_LEARNED, by_task, has_hardly_learned
from speechft.probing.heard_shares import leaking
from speechft.probing.inputs import open_sweeps, read_all, refuse_absent, refuse_two_contexts
from speechft.probing.job import Evaluator, Outcome
from speechft.probing.leaks import heard_by, refuse_leaks
from speechft.probing.protocol import check_plans, plan_for
from speechft.probing.settings import (
    CLASSES,
    GRID,
    RESULTS,
    EncoderSpec,
    EvaluateSettings,
    evaluate_artifact,
    is_official,
)
from speechft.tasks import TASKS

__all__ = ["EncoderSpec", "EvaluateSettings", "evaluate"]

FAILURES: Final = "failures.json"
INPUTS: Final = "inputs.json"
Keys = Sequence[Sequence[str]]
"""Of every encoder, its finished cells."""
Leaks = dict[tuple[str, str], dict[str, Any]]
"""Encoder and task → what a record says of what was heard of the test split."""
# Does the jobs elsewhere and calls back with how many are done; None where this one should.
Others = Callable[[Evaluator, Callable[[int], None]], list[Outcome] | None]
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
        `failures.json` where jobs failed; `classes.json` where utterances have one class: confusion
        matrix, precision, recall and F1 of every class, accuracy, UAR and macro F1 with intervals.

    Raises:
        SettingsError: unknown task, memory is missing, results that are there would be lost, or
            another process is at work in the folder.
        DataError: the data lacks a split or labels, or audio cannot be read.
        CheckpointError: an encoder is not there or cannot be loaded.
        RuntimeError: a job ended otherwise.
    """
    begin = time.perf_counter()
    check_plans(settings)
    settings.refuse_missing_files()
    opened = settings.model_copy(update={"encoders": open_sweeps(settings.encoders)})
    refuse_absent(opened.encoders)  # before the data is read, which may take long
    refuse_two_contexts(opened.encoders, settings.context)
    device = named_device(settings.device)
    if settings.launcher == "local":  # else the jobs' machines have another
        device = str(usable_device(device))
    artifact, settings = evaluate_artifact(settings), opened
    if artifact.done:
        _note_data(settings)
        _logger.info("evaluate: already done in %s", settings.out)
        return settings.out
    artifact.refuse_other_stage()
    with work_alone(settings.out):
        _evaluate(artifact, settings, device, kept, others, begin)
    return settings.out


def _evaluate(
    artifact: Artifact,
    settings: EvaluateSettings,
    device: str,
    kept: KeptFeatures | None,
    others: Others | None,
    begin: float,
) -> None:
    """Do what is missing, and write what was found."""
    evaluator = Evaluator(settings, read_all(settings), device, kept=kept)
    leaks = _find_leaks(evaluator)
    _refuse_foreign(artifact)
    _refuse_loss(evaluator)
    if changes := artifact.changes():
        _logger.info("evaluate: what differs from before: %s", "; ".join(changes))
    artifact.begin(replace=True)
    _say_plans(settings)
    outcomes = _run_all(evaluator, others)
    failures = [f for outcome in outcomes for f in outcome.failures]
    keys = [outcome.keys for outcome in outcomes]
    if any(keys):
        _write_results(evaluator, keys, leaks, whole=not failures)
    _write_about(settings, outcomes, time.perf_counter() - begin)
    if failures:
        raise_failures(failures, _jobs(settings))
    artifact.end(
        [
            *(name for name in (RESULTS, GRID, CLASSES) if (settings.out / name).exists()),
            *(f"{CELLS}/{key}" for own in keys for key in own),
        ],
        settings=settings.model_dump(mode="json", exclude={"out"}, exclude_defaults=True)
        | {"tasks": settings.tasks, "seeds": settings.seeds},
        parents={
            spec.label: _cell(settings.out, own[0])["records"][0]["encoder_hash"]
            for spec, own in zip(settings.encoders, keys, strict=True)
            if own
        },
        data=evaluator.data_ids,
    )


def _say_plans(settings: EvaluateSettings) -> None:
    """Say how every task's probe will be trained: it is the same for all encoders."""
    plans = {task: plan_for(task, settings) for task in settings.tasks if TASKS[task].trains}
    said = [f"{task} {plan.steps:,} × {len(plan.rates)}" for task, plan in plans.items()]
    _logger.info(
        "evaluate: heads of size %s, updates × learning rates: %s",
        *(settings.head_size, ", ".join(said) or "none"),
    )


def _write_about(settings: EvaluateSettings, outcomes: Sequence[Outcome], seconds: float) -> None:
    """Write how long all took, and what failed."""
    keys = [key for outcome in outcomes for key in outcome.keys]
    about = {
        "seconds": round(seconds, 2),
        "encoding": {
            spec.label: {
                "encoder_passes": outcome.passes.utterances,
                "audio_seconds": round(outcome.passes.audio_seconds, 2),
                "seconds": round(outcome.seconds, 2),
            }
            for spec, outcome in zip(settings.encoders, outcomes, strict=True)
        },
        "cells": {k: read_json(settings.out / CELLS / k / TIMING)["seconds"] for k in keys},
    }
    write_json(settings.out / TIMING, about)
    (settings.out / FAILURES).unlink(missing_ok=True)
    if failures := [asdict(f) for outcome in outcomes for f in outcome.failures]:
        write_json(settings.out / FAILURES, failures)


def _jobs(settings: EvaluateSettings, *specs: EncoderSpec) -> int:
    """Give the number of jobs of some encoders; of all if none is given."""
    tasks = [settings.tasks_of(spec) for spec in specs or settings.encoders]
    return sum(map(len, tasks)) * len(settings.seeds)


def _run_all(evaluator: Evaluator, others: Others | None) -> list[Outcome]:
    settings, total = evaluator.settings, _jobs(evaluator.settings)
    with progress_bar() as bar:
        task = bar.add_task("evaluate", total=total, note="")
        if others is not None:
            done_by_others = others(evaluator, lambda done: bar.advance(task, done))
            if done_by_others is not None:
                return done_by_others
        evaluator.note = lambda text: bar.update(task, note=text)
        result: list[Outcome] = []
        for spec in settings.encoders:
            bar.update(task, note=spec.label)
            result.append(evaluator.run(spec, lambda: bar.advance(task)))
            jobs = sum(_jobs(settings, one) for one in settings.encoders[: len(result)])
            done = sum(len(own.keys) for own in result)
            bar.update(task, completed=jobs)
            said, left = f"{done} of {total} jobs done", total - jobs
            if jobs > done:
                said = f"{done} done, {jobs - done} failed" + (f", {left} to do" if left else "")
            _logger.info("evaluate: %s", said)
        return result


def _write_results(evaluator: Evaluator, keys: Keys, leaks: Leaks, *, whole: bool) -> None:
    """Put the cells together, in the order of the settings.

    Where some have failed, results that are there are replaced only if none of them is lost.

    Args:
        evaluator: of the evaluation.
        keys: of every encoder, its finished cells.
        leaks: what of the test splits the encoders have heard.
        whole: none has failed.
    """
    settings = evaluator.settings
    suite, names = settings.label, settings.data_names()
    results: list[dict[str, Any]] = []
    grid: list[dict[str, Any]] = []
    for spec, own in zip(settings.encoders, keys, strict=True):
        for key in own:
            cell = _cell(settings.out, key)
            first = cell["records"][0]
            about = {"encoder": spec.label, "task": first["task"], "seed": first["seed"]}
            official = is_official(suite, first["task"], first["items"])
            labels = {"data": names[first["task"]], "suite": suite, "official_test": official}
            labels |= leaks[spec.label, first["task"]]
            labels = {name: value for name, value in labels.items() if value is not None}
            results += [{"encoder": spec.label, **r, **labels} for r in cell["records"]]
            grid += [{**about, **row} for row in cell["grid"]]
    if not whole and not _subjects(_read(settings.out)) <= _subjects(results):
        _logger.warning("evaluate: %s stays as it was, since jobs have failed", RESULTS)
        return
    write_jsonl(settings.out / RESULTS, results)
    write_jsonl(settings.out / GRID, grid)
    _write_classes(settings, results)
    _note_data(settings)
    unlearned = ((r["task"], r["encoder"]) for r in results if has_hardly_learned(r))
    for task, encoders in by_task(unlearned).items():
        said = "evaluate: the probe for %s on %s " + HARDLY_LEARNED
        _logger.warning(said, task, ", ".join(encoders))


def _write_classes(settings: EvaluateSettings, results: Sequence[Mapping[str, Any]]) -> None:
    """Write confusion matrices and every class by itself, of the predictions that are kept."""
    found: list[dict[str, Any]] = []
    place = settings.out / CLASSES
    for record in {record["cell"]: record for record in results}.values():
        if not settings.predictions or not TASKS[record["task"]].one_class:
            continue
        rows = read_jsonl(settings.out / CELLS / record["cell"] / PREDICTIONS)
        pair = [row["reference"] for row in rows], [row["prediction"] for row in rows]
        folds = [row["fold"] for row in rows if "fold" in row]
        about = {key: record[key] for key in ("encoder", "task", "seed")}
        found.append({**about, **class_report(*pair, folds).to_dict()})
    if found:
        write_json(place, found)
    else:
        place.unlink(missing_ok=True)


def _find_leaks(evaluator: Evaluator) -> Leaks:
    """Find what of every test split each encoder has heard with labels.

    Raises:
        SettingsError: some of it was, and such results are refused.
    """
    settings, found, said = evaluator.settings, Leaks(), list[str]()
    for spec in settings.encoders:
        heard = heard_by(spec)
        for data in evaluator.data:
            for task in set(data.names) & set(settings.tasks_of(spec)):
                shares: dict[str, Any] = data.tested[task].shares(heard)
                if words := leaking(shares):
                    said.append(f"{spec.label} on {task}: {' and '.join(words)}")
                dropped = data.dropped.get(task)
                found[spec.label, task] = shares | ({"dropped_items": dropped} if dropped else {})
    if settings.on_leak == "refuse":
        refuse_leaks(said)
    for line in said:
        _logger.warning("evaluate: heard with labels in tuning: %s", line)
    return found


def _note_data(settings: EvaluateSettings) -> None:
    """Write where the data of the results lies: the same content may move and then change."""
    write_json(settings.out / INPUTS, {task: settings.data_of(task) for task in settings.tasks})


def _refuse_foreign(artifact: Artifact) -> None:
    """Refuse to write over files that no evaluation has made.

    Raises:
        SettingsError: names them.
    """
    folder = artifact.folder
    if artifact.before is not None or (folder / CELLS).exists():
        return
    foreign = [name for name in (RESULTS, GRID) if (folder / name).exists()]
    if foreign:
        expected = "no such file, or an earlier evaluation"
        raise in_the_way(folder, foreign, expected, "choose another --out, or move the file")


def _refuse_loss(evaluator: Evaluator) -> None:
    """Refuse an evaluation that would replace results that it does not measure anew.

    Raises:
        SettingsError: results that are there are of encoders, tasks, seeds or data that the
            settings do not name.
    """
    settings = evaluator.settings
    there = _read(settings.out)
    wanted = {(spec.label, *own) for spec in settings.encoders for own in evaluator.jobs_of(spec)}
    lost = [
        f"{encoder} on {task}, seed {seed}" for encoder, task, seed in _subjects(there) - wanted
    ]
    ids = {t: hash_values(data.ids_of(t)) for data in evaluator.data for t in data.names}
    try:
        inputs = dict(read_json(settings.out / INPUTS))
    except (OSError, ValueError, TypeError):
        inputs = {}
    for task, data in inputs.items():
        own = [row.get("data_hash") for row in there if row.get("task") == task]
        if task in ids and own and own[0] != ids[task] and data != settings.data_of(task):
            lost.append(f"{task} of {data}")
    if lost:
        raise SettingsError(
            "results that are there would be lost",
            where=settings.out,
            expected="their encoders, tasks, seeds and data, and perhaps further ones",
            found=f"without {first_of(sorted(lost))}",
            hint="name these, too, or choose another --out",
        )


def _cell(out: Path, key: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(out / CELLS / key / CELL)
    return content


def _read(out: Path) -> list[dict[str, Any]]:
    """Read the results that are there; none where they cannot be read."""
    try:
        return [row for row in read_jsonl(out / RESULTS) if isinstance(row, dict)]
    except (OSError, ValueError):
        return []


def _subjects(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str, int]]:
    """Give encoder, task and seed of results."""
    seeds = (seed if isinstance(seed := row.get("seed", 0), int) else 0 for row in rows)
    named = ((str(row.get("encoder")), str(row.get("task"))) for row in rows)
    return {(*name, seed) for name, seed in zip(named, seeds, strict=True)}
