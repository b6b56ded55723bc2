"""From the jobs' results to the study's table: values per row, seed and metric, and differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from speechft.metrics.measures import direction
from speechft.metrics.statistics import SeedValues, mean, paired
from speechft.metrics.superb import REFERENCES, any_score
from speechft.probing.hardly_learned import has_hardly_learned
from speechft.probing.heard_shares import share_heard
from speechft.reporting.dev_scores import chosen_figures
from speechft.reporting.measurements import HEARD
from speechft.reporting.study.settings import FEATURES, StudySettings, without
from speechft.reporting.study.stage_and_row_settings import SCORE, RowSpec

Values = dict[int, float]


@dataclass
class Table:
    """The values of a study.

    Attributes:
        rows: row → "task metric" → seed → percent; and the score of every seed under "score", that
            over all tasks but one under "score without TASK".
        columns: "task metric", those that count in the score first.
        counted: how many of them count.
        moved: "features measure", of the rows' analyses.
        encoders: row → (seed, hash) of its encoders.
        heard: row → task → largest share of its test split that an encoder heard with labels.
        unlearned: task → rows with seeds whose probes have hardly learned.
    """

    rows: dict[str, dict[str, Values]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    counted: int = 0
    moved: list[str] = field(default_factory=list)
    encoders: dict[str, set[tuple[int, str]]] = field(default_factory=dict)

    heard: dict[str, dict[str, float]] = field(default_factory=dict)
    unlearned: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def mark(self, row: str, column: str) -> str:
        """Give the mark of a cell, or of a score, whose test split was heard with labels."""
        heard = self.heard.get(row, {})
        task = column.split()[0]
        return f" {HEARD}" if task in heard or (task == SCORE and heard) else ""

    def same(self, row: str, other: str) -> bool:
        """Say whether two rows are the same encoder with every seed."""
        return row in self.encoders and self.encoders[row] == self.encoders.get(other)

    def spread(self, row: str, column: str) -> SeedValues | None:
        """Give a cell; none where it was not measured."""
        values = self.rows.get(row, {}).get(column)
        return SeedValues(tuple(values[s] for s in sorted(values))) if values else None

    def difference(self, row: str, other: str, column: str) -> SeedValues | None:
        """Give how much better `row` is than `other`, over the seeds that both have."""
        ours, theirs = (self.rows.get(name, {}).get(column, {}) for name in (row, other))
        kind, metric = column.split()[0], column.split()[-1]
        if kind == SCORE or direction(metric) == "higher":
            return paired(ours, theirs)
        return paired(theirs, ours)

    def against(self, row: RowSpec, other: str) -> SeedValues | None:
        """Give how much better a row scores than another; none without one, or beside itself."""
        return self.difference(row.name, other, SCORE) if other and other != row.name else None


def make_table(study: StudySettings, measurements: Iterable[Mapping[str, Any]]) -> Table:
    """Build the table.

    Args:
        study: the study; tasks in its `further` and `columns` do not count in the score.
        measurements: records with row, seed, task, metric and value (percent); a value that is no
            finite number counts as not measured.
    """
    table = Table()
    counted: dict[str, None] = {}
    further: dict[str, None] = {}
    moved: dict[str, None] = {}
    for one in measurements:
        column = f"{one['task']} {one['metric']}"
        kinds = {FEATURES: moved, **dict.fromkeys((*study.further, *study.columns), further)}
        kinds.get(one["task"], counted)[column] = None
        if one["value"] is None or not math.isfinite(float(one["value"])):
            continue
        values = table.rows.setdefault(one["row"], {}).setdefault(column, {})
        values[int(one["seed"])] = float(one["value"])
        if share := share_heard(one):
            heard = table.heard.setdefault(one["row"], {})
            heard[one["task"]] = max(share, heard.get(one["task"], 0.0))
        if has_hardly_learned(one):
            seeds_ = table.unlearned.setdefault(one["task"], {}).setdefault(one["row"], [])
            seeds_ += [int(one["seed"])] if int(one["seed"]) not in seeds_ else []
        if "encoder_hash" in one:
            place = (int(one["seed"]), str(one["encoder_hash"]))
            table.encoders.setdefault(one["row"], set()).add(place)
    table.columns, table.counted, table.moved = [*counted, *further], len(counted), [*moved]
    for columns in table.rows.values():
        seeds = set.intersection(*(set(columns.get(c, {})) for c in counted)) if counted else set()
        if seeds:
            columns |= _scores(columns, list(counted), sorted(seeds), study.reference)
    return table


def _scores(
    columns: Mapping[str, Values],
    counted: Sequence[str],
    seeds: Sequence[int],
    reference: str | None,
) -> dict[str, Values]:
    """Give the scores of a row: over all tasks that count, and over all but each of them."""
    tasks = list(dict.fromkeys(column.rsplit(" ", 1)[0] for column in counted))
    parts = {SCORE: list(counted)}
    if len(tasks) > 1:
        parts |= {without(t): [c for c in counted if c.rsplit(" ", 1)[0] != t] for t in tasks}
    return {
        name: {seed: score_of({c: columns[c][seed] for c in part}, reference) for seed in seeds}
        for name, part in parts.items()
    }


def score_of(values: Mapping[str, float], reference: str | None = None) -> float:
    """Give the score of one encoder and seed.

    Args:
        values: "task metric" → percent.
        reference: set of reference values for SUPERB_S; none for the suite score.
    """
    tasks: dict[str, dict[str, tuple[float, str]]] = {}
    for column, value in values.items():
        task, metric = column.rsplit(" ", 1)
        tasks.setdefault(task, {})[metric] = (value, direction(metric))
    return any_score(tasks, reference)


def dev_score(grid: Iterable[Mapping[str, Any]], reference: str | None = None) -> float:
    """Give the score on the dev splits, from the chosen rows of an evaluation's grid.

    Where a task has folds, each has a chosen row; their mean counts. Where a task has no such
    metric on dev as SUPERB_S counts (SD's DER), the suite score stands in.

    Args:
        grid: rows of `grid.jsonl`.
        reference: set of reference values for SUPERB_S; none for the suite score.
    """
    values: dict[str, list[float]] = {}
    for row, metric, value in chosen_figures(grid):
        values.setdefault(f"{row['task']} {metric}", []).append(value)
    means = {column: mean(found) for column, found in values.items()}
    wanted = REFERENCES[reference].floor if reference else {}
    tasks = {column.split()[0] for column in means}
    whole = all(f"{t} {m}" in means for t in tasks for m in wanted.get(t, ()))
    return score_of(means, reference if whole else None)
