"""What the chosen probes had on the dev splits, from the grid beside the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechft.core.files import read_jsonl
from speechft.metrics.measures import DIRECTIONS, direction
from speechft.metrics.statistics import mean
from speechft.probing.settings import GRID
from speechft.reporting.measurements import Encoder, Measurement

_Key = tuple[str, int, str, str]


def chosen_figures(
    grid: Iterable[Mapping[str, Any]],
) -> Iterator[tuple[Mapping[str, Any], str, float]]:
    """Give (row, metric, percent) of a grid's chosen rows; a task with folds has one for each."""
    for row in grid:
        for metric in DIRECTIONS if row["chosen"] else ():
            if metric in row:
                yield row, metric, float(row[metric])


def dev_measurements(
    results: Path, records: Sequence[Mapping[str, Any]], encoders: Mapping[str, Encoder]
) -> Iterable[Measurement]:
    """Give the dev figures of an evaluation; of several folds the mean.

    Nothing where they are not there, cannot be read, or where S3PRL's protocol chose by the test
    split: they decide nothing and stand in no table.

    Args:
        results: `results.jsonl`.
        records: its records.
        encoders: label in the results → encoder.
    """
    if any(record.get("protocol", "clean") != "clean" for record in records):
        return
    found: dict[_Key, list[float]] = {}
    try:
        grid = read_jsonl(results.parent / GRID) if (results.parent / GRID).is_file() else []
        for row, metric, value in chosen_figures(grid):
            key = (str(row["encoder"]), int(row["seed"]), str(row["task"]), metric)
            found.setdefault(key, []).append(value)
    except (OSError, ValueError, KeyError, TypeError):
        return
    suites = {str(record.get("task")): str(record.get("suite", "")) for record in records}
    for (label, seed, task, metric), values in found.items():
        if label in encoders:
            yield Measurement(
                encoder=encoders[label],
                seed=seed,
                task=task,
                metric=metric,
                value=mean(values),
                direction=direction(metric),
                split="dev",
                suite=suites.get(task, ""),
            )
