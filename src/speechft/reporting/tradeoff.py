"""The trade-off plane: what fine-tuning brings to its own task, against what the others keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from speechft.core.escaping import task_heading
from speechft.core.figure_style import COLOURS, INK, MUTED, PRETRAINED, SERIES, legend_text
from speechft.metrics.measures import goodness
from speechft.metrics.statistics import SeedValues, mean
from speechft.reporting.comparison import Column, Comparison, Row
from speechft.reporting.figure_files import NARROW
from speechft.reporting.findings import label, symbol
from speechft.reporting.measurements import Encoder, by_seed, way_of

CAPTION = (
    "Up is better on the task that was tuned on, to the right is better on all others: the mean of "
    "each task's first metric, an error rate as 100 minus it. Lines go from θ₀ (α = 0) through the "
    "merged encoders to θ′ (α = 1), one per method. All values are on the test split and served to "
    "look, not to choose α. The axes do not begin at 0."
)


@dataclass(frozen=True)
class Point:
    """An encoder in the plane; both values in percent, more is better.

    Attributes:
        on_way: whether it lies on the way from θ0 to θ', by one way of merging.
    """

    encoder: Encoder
    own: SeedValues
    rest: SeedValues
    on_way: bool


@dataclass(frozen=True)
class Plane:
    """All encoders that were tuned on one task, beside θ0.

    Attributes:
        run: name of the run, where several are compared.
        base: name of θ0, where several are compared.
        task: what was tuned on; several tasks with commas.
        lines: method, and which fine-tuning of several → its points from θ0 to θ'.
    """

    run: str
    base: str
    task: str
    lines: Mapping[str, Sequence[Point]]


def planes(comparison: Comparison) -> list[Plane]:
    """Give a plane for every task that was tuned on, where another task was scored, too."""
    rows = {row.encoder: row for points in comparison.sweep.values() for row in points.values()}
    rows |= {row.encoder: row for row in comparison.rows}
    found = []
    for run, base, task in dict.fromkeys(e.group[:3] for e in rows if e.tuned_on):
        own, rest = _columns(comparison.columns, task.split(","))
        if not own or not rest:
            continue
        lines = {}
        for group in dict.fromkeys(e.group for e in rows if e.group[:3] == (run, base, task)):
            start = [
                r for e, r in rows.items() if e.role == "pretrained" and e.group == group.start
            ]
            members = [r for e, r in rows.items() if e.group == group]
            members.sort(key=lambda row: (row.encoder.alpha is None, row.encoder.alpha or 0.0))
            way = way_of(rows, group, least=0).values()
            points = [_point(row, own, rest, way) for row in (*start[:1], *members)]
            name = " · ".join(part for part in (group.method, group.tuning) if part)
            lines[name] = [point for point in points if point is not None]
        lines = {name: points for name, points in lines.items() if len(points) > 1}
        if lines:
            found.append(Plane(run, base, task, lines))
    return found


def _columns(columns: Sequence[Column], tuned: Sequence[str]) -> tuple[list[Column], list[Column]]:
    """Give the first metric of each task: those that were tuned on, and the others."""
    first = {column.task: column for column in reversed(columns)}
    ordered = [first[task] for task in dict.fromkeys(column.task for column in columns)]
    return [c for c in ordered if c.task in tuned], [c for c in ordered if c.task not in tuned]


def _point(
    row: Row, own: Sequence[Column], rest: Sequence[Column], way: Collection[Encoder]
) -> Point | None:
    """Place an encoder by those seeds that have all tasks; none where there is no such seed."""
    places: tuple[list[float], list[float]] = ([], [])
    for scores in by_seed(row.measurements).values():
        if all(c.metric in scores.get(c.task, {}) for c in (*own, *rest)):
            for values, columns in zip(places, (own, rest), strict=True):
                values.append(mean(goodness(*scores[c.task][c.metric]) for c in columns))
    if not places[0]:
        return None
    goal, others = (SeedValues(tuple(values)) for values in places)
    return Point(row.encoder, goal, others, row.encoder in way)


def draw_plane(plane: Plane, per_line: int) -> Figure:
    """Draw one plane."""
    size = (NARROW, 3.6) if per_line == 1 else (9.6, 4.6)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    marked: set[Encoder] = set()
    handles = []
    for place, (method, points) in enumerate(plane.lines.items()):
        colour = SERIES[place % len(SERIES)] if len(plane.lines) > 1 else MUTED
        xs, ys = ([p.rest.mean for p in points], [p.own.mean for p in points])
        known = [p.on_way for p in points]
        (line,) = axis.plot(
            [x for x, k in zip(xs, known, strict=True) if k],
            [y for y, k in zip(ys, known, strict=True) if k],
            color=colour,
            linewidth=1.6,
            linestyle="-" if place < len(SERIES) else (0, (4, 2)),
            label=legend_text(method or "merged"),
            zorder=2,
        )
        handles.append(line)
        for point in points:
            if point.encoder not in marked:
                marked.add(point.encoder)
                _mark(axis, point, colour if len(plane.lines) > 1 else None)
    first = next(iter(plane.lines.values()))[0]
    if first.encoder.role == "pretrained":
        for draw, value in ((axis.axvline, first.rest.mean), (axis.axhline, first.own.mean)):
            draw(value, color=PRETRAINED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axis.set_xlabel("other tasks, mean (percent) →")
    axis.set_ylabel(f"{task_heading(plane.task)} (percent) →")
    axis.margins(0.14)
    axis.grid(True)
    if len(handles) > 1:
        axis.legend(handles=handles, frameon=False, fontsize=9)
    return figure


def _mark(axis: Any, point: Point, colour: str | None) -> None:
    x, y = point.rest.mean, point.own.mean
    role = point.encoder.role
    shade = colour if colour and role != "pretrained" else COLOURS[role]
    if point.own.sd or point.rest.sd:
        axis.errorbar(
            x, y, xerr=point.rest.sd, yerr=point.own.sd, color=INK, linewidth=0.9, zorder=3
        )
    axis.plot(x, y, "o", color=shade, markersize=8 if role != "merged" else 6, zorder=4)
    alpha = point.encoder.alpha
    text = symbol(point.encoder)
    if role == "merged":
        text = f"α {alpha:g}" if alpha is not None else label(point.encoder, short=True)
    axis.annotate(
        legend_text(text or label(point.encoder, short=True)),
        (x, y),
        xytext=(6, 6),
        textcoords="offset points",
        fontsize=9,
        zorder=5,
    )


def values_of(plane: Plane) -> list[dict[str, Any]]:
    """Give what the figure shows, a row per point."""
    return [
        {
            "method": method,
            "encoder": label(point.encoder),
            "alpha": point.encoder.alpha,
            "tuned_on": plane.task,
            "own_task": round(point.own.mean, 4),
            "own_task_sd": point.own.sd,
            "other_tasks": round(point.rest.mean, 4),
            "other_tasks_sd": point.rest.sd,
        }
        for method, points in plane.lines.items()
        for point in points
    ]
