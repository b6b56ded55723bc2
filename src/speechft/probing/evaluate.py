"""`speechft evaluate`: probe frozen encoders, SUPERB-style."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speechft.core.devices import named_device, usable_device
from speechft.core.files import read_json, write_json, write_jsonl
from speechft.core.logging import get_logger, progress_bar
from speechft.core.provenance import FILE_NAME, is_done, refuse_other_stage, write_provenance
from speechft.hidden.front_end import KeptFeatures
from speechft.probing.cells import VERSION
from speechft.probing.data import read_all
from speechft.probing.encoders import open_sweeps, refuse_absent, source_hashes
from speechft.probing.failures import raise_failures
from speechft.probing.job import Workplace
from speechft.probing.outcome import Outcome
from speechft.probing.plans import check_plans
from speechft.probing.result_files import GRID, RESULTS
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.probing.suites import is_official

__all__ = ["EncoderSpec", "EvaluateSettings", "evaluate"]

TIMING: Final = "timing.json"
FAILURES: Final = "failures.json"
# Does the jobs in other processes and calls back after each; None where this one should do them.
Others = Callable[[Workplace, Callable[[], None]], list[Outcome] | None]
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
        SettingsError: unknown task, or memory is missing.
        DataError: the data lacks a split or labels, or audio cannot be read.
        CheckpointError: an encoder is not there or cannot be loaded.
        RuntimeError: a job ended otherwise.
    """
    begin = time.perf_counter()
    check_plans(settings)
    settings = settings.model_copy(update={"encoders": open_sweeps(settings.encoders)})
    refuse_other_stage(settings.out, "evaluate")
    plain = settings.result_values()
    plain["sources"] = [source_hashes(spec) for spec in settings.encoders]
    if not is_done(settings.out, stage="evaluate", settings=plain):
        refuse_absent(settings.encoders)  # before the data is read, which may take long
    device = named_device(settings.device)
    if settings.launcher == "local":  # else the jobs' machines have another
        device = str(usable_device(device))
    place = Workplace(settings, read_all(settings), device, kept=kept)
    if _is_complete(place, plain):
        _logger.info("evaluate: already done in %s", settings.out)
        return settings.out
    (settings.out / "cells").mkdir(parents=True, exist_ok=True)
    outcomes = _run_all(place, others)
    failures = [f for outcome in outcomes for f in outcome.failures]
    keys = [outcome.keys for outcome in outcomes]
    if any(keys):
        _write(settings, keys)
    encodings = {
        spec.label: outcome.encoding
        for spec, outcome in zip(settings.encoders, outcomes, strict=True)
    }
    seconds = {
        "seconds": round(time.perf_counter() - begin, 2),
        "encoding": encodings,
        "cells": _cell_times(settings, keys),
    }
    write_json(settings.out / TIMING, seconds)
    (settings.out / FAILURES).unlink(missing_ok=True)
    if failures:
        write_json(settings.out / FAILURES, [f.to_dict() for f in failures])
    raise_failures(failures, _jobs(settings))
    hashes = {
        spec.label: _cell(settings, own[0])["records"][0]["encoder_hash"]
        for spec, own in zip(settings.encoders, keys, strict=True)
        if own
    }
    write_provenance(
        settings.out,
        stage="evaluate",
        settings=plain,
        parents=hashes,
        data=place.hashes,
        version=VERSION,
    )
    return settings.out


def _jobs(settings: EvaluateSettings) -> int:
    return sum(len(settings.tasks_of(s)) for s in settings.encoders) * len(settings.seeds)


def _run_all(place: Workplace, others: Others | None) -> list[Outcome]:
    settings = place.settings
    with progress_bar() as bar:
        task = bar.add_task("evaluate", total=_jobs(settings), note="")
        if others is not None:
            done_by_others = others(place, lambda: bar.advance(task))
            if done_by_others is not None:
                return done_by_others
        place.note = lambda text: bar.update(task, note=text)
        result: list[Outcome] = []
        for spec in settings.encoders:
            bar.update(task, note=spec.label)
            result.append(place.run(spec, lambda: bar.advance(task)))
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


def _write(settings: EvaluateSettings, keys: Sequence[Sequence[str]]) -> None:
    """Put the cells together, in the order of the settings."""
    suite, names = settings.label, settings.data_names()
    results: list[dict[str, Any]] = []
    grid: list[dict[str, Any]] = []
    for spec, own in zip(settings.encoders, keys, strict=True):
        for key in own:
            cell = _cell(settings, key)
            first = cell["records"][0]
            labels: dict[str, Any]
            about = {"encoder": spec.label, "task": first["task"], "seed": first["seed"]}
            labels = {"data": names[first["task"]], "suite": suite}
            official = is_official(suite, first["task"], first["items"])
            if official is not None:
                labels["official_test"] = official
            results += [{"encoder": spec.label, **r, **labels} for r in cell["records"]]
            grid += [{**about, **row} for row in cell["grid"]]
    write_jsonl(settings.out / RESULTS, results)
    write_jsonl(settings.out / GRID, grid)


def _cell(settings: EvaluateSettings, key: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(settings.out / "cells" / key / "cell.json")
    return content


def _cell_times(settings: EvaluateSettings, keys: Sequence[Sequence[str]]) -> dict[str, float]:
    """Give the seconds of every cell's probe, whenever it was made."""
    names = [key for own in keys for key in own]
    cells = settings.out / "cells"
    return {key: read_json(cells / key / "timing.json")["seconds"] for key in names}


def _is_complete(place: Workplace, plain: Mapping[str, Any]) -> bool:
    """Tell whether the results are there, of these settings, encoders and data."""
    out = place.settings.out
    done = is_done(out, stage="evaluate", settings=plain)
    record = read_json(out / FILE_NAME) if done else {}
    done = record.get("data") == place.hashes and record.get("version") == VERSION
    return done and (out / RESULTS).is_file() and (out / GRID).is_file()
