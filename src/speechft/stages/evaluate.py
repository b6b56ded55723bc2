"""`speechft evaluate`: probe frozen encoders, SUPERB-style."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from speechft.core.files import read_json, write_json, write_jsonl
from speechft.core.logging import get_logger, progress_bar
from speechft.core.provenance import is_done, write_provenance
from speechft.stages.evaluation.data import hash_splits, read_splits
from speechft.stages.evaluation.encoders import open_sweeps, source_hashes
from speechft.stages.evaluation.job import Workplace
from speechft.stages.evaluation.plans import check_plans
from speechft.stages.evaluation.settings import EncoderSpec, EvaluateSettings
from speechft.stages.evaluation.workers import run_in_processes

__all__ = ["EncoderSpec", "EvaluateSettings", "evaluate"]

RESULTS: Final = "results.jsonl"
GRID: Final = "grid.jsonl"
TIMING: Final = "timing.json"
# Below this much audio times encoders, starting processes takes longer than it saves.
_SECONDS_WORTH_PROCESSES = 600.0
_logger = get_logger(__name__)


def evaluate(settings: EvaluateSettings) -> Path:
    """Probe encoders on tasks; what is done is kept, what was stopped goes on.

    Every encoder is frozen and reads every utterance once. For each task and seed a head on the
    softmax-weighted sum of its hidden states is trained with every learning rate of the grid; the
    dev split chooses rate and update, and the test split is scored once.

    Returns:
        The folder: `results.jsonl` (one record per metric), `grid.jsonl` (every learning rate on
        dev), `cells/` (each encoder, task and seed, with predictions), `timing.json`.

    Raises:
        SettingsError: unknown task, a split or memory is missing.
        DataError: the data lacks labels, or audio cannot be read.
        CheckpointError: an encoder cannot be loaded.
    """
    begin = time.perf_counter()
    check_plans(settings)
    settings = open_sweeps(settings)
    plain = settings.result_values()
    plain["sources"] = [source_hashes(spec) for spec in settings.encoders]
    if is_done(settings.out, stage="evaluate", settings=plain) and _complete(settings.out):
        _logger.info("evaluate: already done in %s", settings.out)
        return settings.out
    splits, names = read_splits(settings.data, settings.tasks)
    place = Workplace(settings, splits, names, hash_splits(splits), _device(settings.device))
    (settings.out / "cells").mkdir(parents=True, exist_ok=True)
    keys = _run_all(place)
    _write(settings, keys)
    seconds = {
        "seconds": round(time.perf_counter() - begin, 2),
        "cells": _cell_times(settings, keys),
    }
    write_json(settings.out / TIMING, seconds)
    hashes = {
        spec.label: _cell(settings, own[0])["records"][0]["encoder_hash"]
        for spec, own in zip(settings.encoders, keys, strict=True)
        if own
    }
    write_provenance(
        settings.out, stage="evaluate", settings=plain, parents=hashes, data=place.hashes
    )
    return settings.out


def _run_all(place: Workplace) -> list[list[str]]:
    settings = place.settings
    total = sum(len(settings.tasks_of(s)) for s in settings.encoders) * len(settings.seeds)
    workers = _workers(place)
    with progress_bar() as bar:
        task = bar.add_task("evaluate", total=total, note="")
        if workers > 1:
            with _watch(settings.out / "cells", lambda new: bar.update(task, completed=new)):
                return run_in_processes(place, workers, settings.out)
        result: list[list[str]] = []
        for spec in settings.encoders:
            bar.update(task, note=spec.label)
            result.append(place.run(spec, lambda: bar.advance(task)))
            bar.update(task, completed=sum(len(own) for own in result))
        return result


def _workers(place: Workplace) -> int:
    """Give the number of processes, whatever part of the work is done already."""
    settings = place.settings
    encoders = len(settings.encoders)
    if settings.workers:
        return min(settings.workers, encoders)
    seconds = sum(cut.duration for cuts in place.splits.values() for cut in cuts)
    if place.device != "cpu" or seconds * encoders < _SECONDS_WORTH_PROCESSES:
        return 1
    return min(os.cpu_count() or 1, encoders)


@contextmanager
def _watch(folder: Path, show: Callable[[int], None]) -> Iterator[None]:
    """Show how many cells have appeared while other processes make them."""
    stop = threading.Event()
    before = len(list(folder.iterdir()))

    def look() -> None:
        while not stop.wait(0.5):
            show(len([p for p in folder.iterdir() if not p.name.startswith(".")]) - before)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _write(settings: EvaluateSettings, keys: Sequence[Sequence[str]]) -> None:
    """Put the cells together, in the order of the settings."""
    suite = settings.suite or ("mini" if settings.data.startswith("synthetic") else "own")
    results: list[dict[str, Any]] = []
    grid: list[dict[str, Any]] = []
    for spec, own in zip(settings.encoders, keys, strict=True):
        for key in own:
            cell = _cell(settings, key)
            first = cell["records"][0]
            about = {"encoder": spec.label, "task": first["task"], "seed": first["seed"]}
            results += [{"encoder": spec.label, **r, "suite": suite} for r in cell["records"]]
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


def _complete(out: Path) -> bool:
    return (out / RESULTS).is_file() and (out / GRID).is_file()


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
