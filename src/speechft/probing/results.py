"""The results of an evaluation, put together from its cells; what is there is not lost unasked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import hash_values
from speechft.core.errors import SettingsError
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl
from speechft.core.logging import get_logger
from speechft.core.places import first_of
from speechft.probing.cells import CELL
from speechft.probing.cells import TIMING as CELL_TIMING
from speechft.probing.job import Evaluator
from speechft.probing.result_files import GRID, RESULTS
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.probing.suites import is_official

CELLS: Final = "cells"
INPUTS: Final = "inputs.json"
_logger = get_logger(__name__)
Keys = Sequence[Sequence[str]]
"""Of every encoder, its finished cells."""


def write_results(evaluator: Evaluator, keys: Keys, *, whole: bool) -> None:
    """Put the cells together, in the order of the settings.

    Where some have failed, results that are there are replaced only if none of them is lost.

    Args:
        evaluator: of the evaluation.
        keys: of every encoder, its finished cells.
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
            labels: dict[str, Any] = {"data": names[first["task"]], "suite": suite}
            official = is_official(suite, first["task"], first["items"])
            if official is not None:
                labels["official_test"] = official
            results += [{"encoder": spec.label, **r, **labels} for r in cell["records"]]
            grid += [{**about, **row} for row in cell["grid"]]
    if not whole and not _subjects(_read(settings.out)) <= _subjects(results):
        _logger.warning("evaluate: %s stays as it was, since jobs have failed", RESULTS)
        return
    write_jsonl(settings.out / RESULTS, results)
    write_jsonl(settings.out / GRID, grid)
    note_data(settings)


def note_data(settings: EvaluateSettings) -> None:
    """Write where the data of the results lies: the same content may move and then change."""
    write_json(settings.out / INPUTS, {task: settings.data_of(task) for task in settings.tasks})


def refuse_loss(evaluator: Evaluator) -> None:
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
    for task, data in _inputs(settings.out).items():
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


def cell_times(out: Path, keys: Keys) -> dict[str, float]:
    """Give the seconds of every cell's probe, whenever it was made."""
    names = [key for own in keys for key in own]
    return {key: read_json(out / CELLS / key / CELL_TIMING)["seconds"] for key in names}


def weights_of(out: Path, specs: Sequence[EncoderSpec], keys: Keys) -> dict[str, str]:
    """Give name → identity of the weights of every encoder that was evaluated."""
    own = {spec.label: cells[0] for spec, cells in zip(specs, keys, strict=True) if cells}
    return {label: _cell(out, key)["records"][0]["encoder_hash"] for label, key in own.items()}


def _cell(out: Path, key: str) -> dict[str, Any]:
    content: dict[str, Any] = read_json(out / CELLS / key / CELL)
    return content


def _read(out: Path) -> list[dict[str, Any]]:
    """Read the results that are there; none where they cannot be read."""
    try:
        return read_jsonl(out / RESULTS)
    except (OSError, ValueError):
        return []


def _inputs(out: Path) -> dict[str, str]:
    """Give task → DATA of the results that are there."""
    try:
        return dict(read_json(out / INPUTS))
    except (OSError, ValueError, TypeError):
        return {}


def _subjects(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str, int]]:
    """Give encoder, task and seed of results."""
    return {(str(row.get("encoder")), str(row.get("task")), row.get("seed", 0)) for row in rows}
