"""Compare: means and spread over seeds, the best of each column, and one score per encoder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from speechft.core.errors import DataError
from speechft.core.escaping import task_heading
from speechft.metrics.measures import TITLES
from speechft.metrics.statistics import SeedValues
from speechft.metrics.superb import any_score, score_text
from speechft.probing.settings import reference_of
from speechft.reporting.contrasts import Contrast, Metric, Side, contrast
from speechft.reporting.dev_scores import Choice, choices
from speechft.reporting.measurements import Encoder, Group, Measurement, Scores, by_seed, way_of

ARROWS = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Column:
    """One metric of one task."""

    task: str
    metric: str
    direction: str

    @property
    def key(self) -> Metric:
        """Task and metric."""
        return (self.task, self.metric)

    @property
    def title(self) -> str:
        """For people: `PR PER ↓`."""
        return f"{task_heading(self.task)} {metric_title(self.metric)} {ARROWS[self.direction]}"


@dataclass
class Row:
    """One encoder's values."""

    encoder: Encoder
    cells: dict[Metric, SeedValues]
    measurements: Sequence[Measurement]
    score: SeedValues | None = None
    best: set[Metric | str] = field(default_factory=set)

    @cached_property
    def side(self) -> Side:
        """It as a side of contrasts."""
        return Side(self.measurements)

    @property
    def heard(self) -> set[str]:
        """The tasks whose test split it has heard some of, with labels."""
        return {m.task for m in self.measurements if m.heard}


@dataclass(frozen=True)
class Trio:
    """θ0, θ' and θ̂ of one fine-tuning."""

    pretrained: Row
    finetuned: Row
    merged: Row


@dataclass
class Comparison:
    """The table.

    Attributes:
        columns: one per task and metric.
        rows: θ0 first, then for each fine-tuning task θ' and θ̂.
        sweep: group → alpha → row, θ0 (alpha 0) and θ' (alpha 1) included.
        score_name: "SUPERB_S" or "Suite score".
        score_text: how the score is computed, one sentence.
        seeds: the seeds, sorted.
        items: task → number of utterances scored.
        choices: group → what the dev splits say of its alphas.
        reference: set of reference values of the score, for SUPERB_S.
    """

    columns: list[Column]
    rows: list[Row]
    sweep: dict[Group, dict[float, Row]]
    score_name: str
    score_text: str
    seeds: list[int]
    items: dict[str, int]
    choices: dict[Group, Choice] = field(default_factory=dict)
    reference: str | None = None

    def contrast(self, ours: Row, theirs: Row, level: float) -> Contrast:
        """Compare two rows by their scores."""

        def score(scores: Scores) -> float:
            return any_score(scores, self.reference)

        return contrast(ours.side, theirs.side, score, level)

    def contrast_in(self, column: Column, ours: Row, theirs: Row, level: float) -> Contrast:
        """Compare two rows by one column; above is better."""
        sign = 1.0 if column.direction == "higher" else -1.0

        def value(scores: Scores) -> float:
            return sign * scores[column.task][column.metric][0]

        return contrast(ours.side.only(column.key), theirs.side.only(column.key), value, level)

    @property
    def trios(self) -> list[Trio]:
        """θ0, θ' and θ̂ of every fine-tuning that has all three, in the order of the table.

        Of several of one task and method those are taken that have the same name; of several points
        of a sweep the one that the dev splits choose, where it lies between.
        """
        found = []
        tuned_rows = [r for r in self.rows if r.encoder.role == "finetuned"]
        for group in dict.fromkeys(r.encoder.group for r in tuned_rows):
            before = self.rows_of("pretrained", group.start)
            tuned, merged = self.rows_of("finetuned", group), self._told_by_dev(group)
            pairs = [(t, m) for t in tuned for m in merged]
            pairs.sort(key=lambda pair: pair[0].encoder.name != pair[1].encoder.name)
            if before and pairs:
                found.append(Trio(before[0], *pairs[0]))
        return found

    def _told_by_dev(self, group: Group) -> list[Row]:
        """Give the merged rows: of a sweep the point that dev chooses, then what stands alone."""
        merged, way = self.rows_of("merged", group), self.sweep.get(group)
        if way is None:
            return merged
        method = next(r.encoder.merge_method for r in way.values() if r.encoder.role == "merged")
        choice = self.choices.get(group)
        best = way.get(choice.best) if choice and choice.merge_method == method else None
        count = Counter(r.encoder.merge_method for r in merged)
        alone = [r for r in merged if count[r.encoder.merge_method] == 1]
        return [*(r for r in merged if r is best), *alone]

    def rows_of(self, role: str, group: Group) -> list[Row]:
        """Give the rows of a role in a group, in the order of the table."""
        return [r for r in self.rows if r.encoder.role == role and r.encoder.group == group]


def compare(measurements: Sequence[Measurement], dev: Sequence[Measurement] = ()) -> Comparison:
    """Build the table.

    Args:
        measurements: metrics in percent; dev records are left out where test records exist.
        dev: what the chosen probes have on the dev splits.

    Raises:
        DataError: there is nothing to compare, or there are scores of several suites.
    """
    splits = {m.split for m in measurements}
    chosen = [m for m in measurements if m.split == "test" or "test" not in splits]
    if not chosen:
        raise DataError("there is no result to report")
    refuse_several_suites({_measured_by(m): m.encoder.run or m.task for m in chosen})
    columns = _columns(chosen)
    reference = _reference(chosen)
    rows = [_row(encoder, group, reference) for encoder, group in _by_encoder(chosen).items()]
    main = {m.encoder for m in chosen if m.main}
    table = sorted((r for r in rows if r.encoder in main), key=_order)
    full = {c.key for c in columns}
    for row in table:
        if set(row.cells) != full:
            row.score = None
    _mark_best(table, columns)
    return Comparison(
        columns=columns,
        rows=table,
        sweep=_sweep(rows),
        score_name="SUPERB_S" if reference else "Suite score",
        score_text=score_text(reference),
        seeds=sorted({m.seed for m in chosen}),
        items={m.task: m.items for m in chosen if m.items},
        choices=choices(dev),
        reference=reference,
    )


def _measured_by(one: Measurement) -> str:
    """Give the suite, and protocol, precision and states where they are not the usual ones."""
    protocol = "" if one.protocol == "clean" else f", protocol {one.protocol}"
    precision = "" if one.precision == "float32" else f", passes in {one.precision}"
    states = f", {one.states} hidden states" if one.states else ""
    return f"{one.suite or 'no suite'}{protocol}{precision}{states}"


def refuse_several_suites(where: Mapping[str, str]) -> None:
    """Refuse to put scores of different suites into one table.

    Args:
        where: suite → a place where its scores are.

    Raises:
        DataError: there are several suites.
    """
    if len(where) > 1:
        raise DataError(
            "scores of different suites cannot be compared",
            expected="one suite",
            found="; ".join(f"{suite or 'no suite'} ({place})" for suite, place in where.items()),
            hint="give the runs of one suite at a time",
        )


def _reference(measurements: Sequence[Measurement]) -> str | None:
    """Give the reference set of the suite, where all of its tasks were measured."""
    return reference_of(measurements[0].suite, {m.task for m in measurements})


def metric_title(metric: str) -> str:
    """Give a metric's name for people."""
    return TITLES.get(metric, metric)


def _columns(measurements: Iterable[Measurement]) -> list[Column]:
    found = {(m.task, m.metric): m.direction for m in measurements}
    return [Column(task, metric, way) for (task, metric), way in found.items()]


def _by_encoder(measurements: Iterable[Measurement]) -> dict[Encoder, list[Measurement]]:
    groups: dict[Encoder, list[Measurement]] = {}
    for found in measurements:
        groups.setdefault(found.encoder, []).append(found)
    return groups


def _row(encoder: Encoder, group: Sequence[Measurement], reference: str | None) -> Row:
    cells: dict[Metric, dict[int, float]] = {}
    for found in sorted(group, key=lambda m: m.seed):
        cells.setdefault((found.task, found.metric), {})[found.seed] = found.value
    whole = [s for s in by_seed(group).values() if sum(map(len, s.values())) == len(cells)]
    scores = [any_score(one, reference) for one in whole]
    spreads = {key: SeedValues(tuple(values.values())) for key, values in cells.items()}
    return Row(encoder, spreads, group, SeedValues(tuple(scores)) if scores else None)


def _order(row: Row) -> tuple[Any, ...]:
    encoder = row.encoder
    rank = {"pretrained": 0, "finetuned": 1, "merged": 2, "other": 3}[encoder.role]
    own = (rank, encoder.alpha or 0.0, encoder.name)
    return (encoder.run, encoder.role == "other", *encoder.group[1:], *own)


def _mark_best(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Mark the best mean of each column, unless all are the same."""
    for column in columns:
        having = [r for r in rows if column.key in r.cells]
        sign = 1 if column.direction == "higher" else -1
        means = [sign * r.cells[column.key].mean for r in having]
        for row, mean in zip(having, means, strict=True):
            if mean == max(means) > min(means):
                row.best.add(column.key)
    scored = [(r, r.score.mean) for r in rows if r.score is not None]
    scores = [value for _, value in scored]
    for row, value in scored:
        if value == max(scores) > min(scores):
            row.best.add("score")


def _sweep(rows: Sequence[Row]) -> dict[Group, dict[float, Row]]:
    """Collect the alphas of each fine-tuning that was merged with more than one of them."""
    by_encoder = {row.encoder: row for row in rows}
    groups = dict.fromkeys(one.group for one in by_encoder if one.role == "merged")
    ways = {group: way_of(by_encoder, group) for group in groups}
    return {
        group: {alpha: by_encoder[one] for alpha, one in way.items()}
        for group, way in ways.items()
        if way
    }
