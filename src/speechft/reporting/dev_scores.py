"""What the dev splits say: the figures of the chosen probes, and the alpha that these choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechft.core.escaping import task_heading
from speechft.core.files import read_jsonl
from speechft.metrics.measures import DIRECTIONS, direction
from speechft.metrics.statistics import SeedValues, mean
from speechft.metrics.superb import suite_score
from speechft.probing.settings import GRID
from speechft.reporting.measurements import Encoder, Group, Measurement, by_seed, way_of

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


@dataclass(frozen=True)
class Choice:
    """The points between θ0 and one θ', by what the dev splits say of them.

    Attributes:
        tasks: on which all points were probed.
        scores: alpha → suite score on the dev splits over the seeds, θ0 (0) and θ' (1) included.
        merge_method: by which those between were merged.
    """

    tasks: tuple[str, ...]
    scores: dict[float, SeedValues]
    merge_method: str = ""

    @property
    def best(self) -> float:
        """The alpha with the highest mean; the smallest of equals."""
        return max(self.scores, key=lambda alpha: (self.scores[alpha].mean, -alpha))

    def text(self, used: float | None) -> str:
        """Say what they choose, beside the alpha that was used."""
        tasks = " and ".join(", ".join(task_heading(t) for t in self.tasks).rsplit(", ", 1))
        points = ", ".join(f"{alpha:g}" for alpha in self.scores)
        found = f"On the dev splits of {tasks}, α = {self.best:g} scores best of {points}"
        found += f" ({self.scores[self.best].text(0)})"
        if used is None or used not in self.scores:
            return f"{found}."
        if used == self.best:
            return f"{found}; it is the one that was used."
        return f"{found}; the α that was used, {used:g}, has {self.scores[used].text(0)} there."


def choices(dev: Sequence[Measurement]) -> dict[Group, Choice]:
    """Give what the dev splits choose for every fine-tuning that was merged with several alphas.

    Args:
        dev: what the chosen probes have on the dev splits.
    """
    result: dict[Group, Choice] = {}
    for group in dict.fromkeys(m.encoder.group for m in dev if m.encoder.role == "merged"):
        way = way_of((m.encoder for m in dev), group)
        points = {a: [m for m in dev if m.encoder == encoder] for a, encoder in way.items()}
        cells = [{_cell(m) for m in own} for own in points.values()]
        common = set.intersection(*cells) if cells else set()
        if common:
            chosen = {a: [m for m in own if _cell(m) in common] for a, own in points.items()}
            tasks = tuple(dict.fromkeys(m.task for own in chosen.values() for m in own))
            method = next(one.merge_method for one in way.values() if one.role == "merged")
            scores = {alpha: _suite_score(own) for alpha, own in chosen.items()}
            result[group] = Choice(tasks, scores, method)
    return result


def _cell(one: Measurement) -> tuple[int, str, str]:
    return (one.seed, one.task, one.metric)


def _suite_score(measurements: Sequence[Measurement]) -> SeedValues:
    return SeedValues(tuple(suite_score(scores) for scores in by_seed(measurements).values()))
