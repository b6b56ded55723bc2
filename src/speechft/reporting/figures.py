"""Draw: bars per task, the trade-off, the alpha sweep, layer weights, training curves.

In the page a figure is inline SVG whose colours are CSS variables, so it follows dark and light.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.core.escaping import file_name, printable, task_heading
from speechft.core.figure_style import (
    COLOURS,
    FINETUNED,
    INK,
    MERGED,
    MUTED,
    PRETRAINED,
    STYLE,
    legend_text,
)
from speechft.metrics.statistics import SeedValues
from speechft.reporting.comparison import Column, Comparison, Row
from speechft.reporting.drift import CAPTION as DRIFT_CAPTION
from speechft.reporting.drift import Drift, draw_drift
from speechft.reporting.drift import values_of as values_of_drift
from speechft.reporting.figure_files import Drawing, Values, keep, panels
from speechft.reporting.findings import label
from speechft.reporting.layer_weights import CAPTION as WEIGHTS_CAPTION
from speechft.reporting.layer_weights import draw_profiles, profiles
from speechft.reporting.layer_weights import values_of as values_of_profiles
from speechft.reporting.measurements import Curve, Group
from speechft.reporting.tradeoff import CAPTION as PLANE_CAPTION
from speechft.reporting.tradeoff import draw_plane, planes
from speechft.reporting.tradeoff import values_of as values_of_plane

FEW = 6  # encoders whose figures stand side by side in a panel
SWEEP_POINTS = 4  # fewer make no curve


def draw_all(
    comparison: Comparison, curves: Sequence[Curve], folder: Path, drift: Drift | None = None
) -> list[Drawing]:
    """Draw every figure that the evidence allows; write its files.

    Args:
        comparison: the table and the sweep.
        curves: training curves.
        folder: gets `NAME.png`, `NAME.svg` and `NAME.csv`.
        drift: encoder → CKA with θ0 of every hidden state, where a run was analysed.
    """
    drawings: list[Drawing] = []
    several = len(comparison.seeds) > 1

    def add(
        draw: Callable[[int], Figure], name: str, title: str, caption: str, values: Values
    ) -> None:
        stem = file_name(name)
        if any(stem == drawing.name for drawing in drawings):
            stem = f"{stem}-{len(drawings)}"
        drawings.append(keep(draw, stem, printable(title), caption, folder, values))

    with mpl.rc_context(STYLE):
        caption = BARS_CAPTION + (WHISKERS if several else ONE_SEED)
        add(partial(_bars, comparison), "tasks", "Task by task", caption, table_values(comparison))
        for plane in planes(comparison):
            parts = ("tradeoff", plane.run, plane.base, plane.task)
            name = "-".join(part for part in parts if part)
            title = f"What fine-tuning on {task_heading(plane.task)} brings, and what it costs"
            title += _of(plane.run, plane.base)
            add(partial(draw_plane, plane), name, title, PLANE_CAPTION, values_of_plane(plane))
        for group, points in comparison.sweep.items():
            if not _curved(comparison, points):
                continue
            name = "-".join(["alpha-sweep", *(part for part in group if part)])
            on = f" on {task_heading(group.tuned_on)}" if group.tuned_on else ""
            title = f"From pretrained to finetuned{on}: the sweep of alpha"
            title += _of(group.run, group.base, group.tuning)
            sweep = partial(_sweep, comparison, group, points)
            caption = SWEEP_CAPTION + (BANDS if several else "")
            add(sweep, name, title, caption, _sweep_values(points))
        if found := profiles(comparison):
            draw = partial(draw_profiles, found)
            values = values_of_profiles(found)
            add(draw, "layer-weights", "Where the probes listened", WEIGHTS_CAPTION, values)
        if drift:
            draw, values = partial(draw_drift, drift), values_of_drift(drift)
            add(draw, "similarity", "How far from θ₀, layer by layer", DRIFT_CAPTION, values)
        if curves:
            training = partial(_training, curves)
            add(training, "training", "Training", TRAINING_CAPTION, _training_values(curves))
    return drawings


def _of(*names: str) -> str:
    """Say of which run or encoder a figure is, where there are several."""
    own = [name for name in names if name]
    return f" ({' · '.join(own)})" if own else ""


def table_values(comparison: Comparison) -> Values:
    """Give the table's values, scores among them, a row per encoder and metric."""
    found: list[dict[str, Any]] = []
    for row in comparison.rows:
        found += _row_values(row)
        if row.score is not None:
            found.append(_value(row, (comparison.score_name, ""), row.score))
    return found


def _row_values(row: Row) -> list[dict[str, Any]]:
    return [_value(row, metric, spread) for metric, spread in row.cells.items()]


def _value(row: Row, metric: tuple[str, str], spread: SeedValues) -> dict[str, Any]:
    return {
        "encoder": label(row.encoder),
        "alpha": row.encoder.alpha,
        "task": metric[0],
        "metric": metric[1],
        "mean": round(spread.mean, 4),
        "sd": spread.sd,
        "seeds": len(spread.values),
    }


def _sweep_values(points: Mapping[float, Row]) -> Values:
    return [value | {"alpha": alpha} for alpha, row in points.items() for value in _row_values(row)]


def _training_values(curves: Sequence[Curve]) -> Values:
    return [
        {"title": curve.title, "seed": curve.seed, **{k: one.get(k) for k in _CURVE}}
        for curve in curves
        for one in curve.records
        if "loss" in one
    ]


_CURVE = ("update", "loss", "lr")
BARS_CAPTION = (
    "Each panel is one metric on the test split, in percent; the arrow says which way is better. "
)
WHISKERS = "Whiskers are one standard deviation over seeds."
BANDS = " Bands are one standard deviation over seeds."
ONE_SEED = "There is one seed, and so no spread."
SWEEP_CAPTION = (
    "α = 0 is the pretrained encoder, α = 1 the finetuned one; the dashed line keeps the "
    "pretrained value in sight, the filled point is the α of the table. All values are on the "
    "test split and served to look, not to choose α. The vertical axes do not begin at 0, but show "
    "the range of the values."
)
TRAINING_CAPTION = "Loss (smoothed over what was logged) and learning rate, per update."


def _bars(comparison: Comparison, per_line: int) -> Figure:
    columns, rows = comparison.columns, comparison.rows
    figure, axes = panels(len(columns) + (1 if _scored(rows) else 0), 2.5, per_line)
    titles = [(c.title, [r.cells.get(c.key) for r in rows]) for c in columns]
    if _scored(rows):
        titles.append((f"{comparison.score_name} ↑", [r.score for r in rows]))
    for axis, (title, spreads) in zip(axes, titles, strict=False):
        _bar_panel(axis, title, spreads, rows)
    handles = [axes[0].patches[i] for i in range(len(rows))]
    several = len(rows) <= 4 and per_line > 1
    figure.legend(
        handles,
        [legend_text(_numbered(rows, place)) for place in range(len(rows))],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=min(len(rows), 3) if several else 1,
        frameon=False,
    )
    return figure


def _numbered(rows: Sequence[Row], place: int) -> str:
    """Name a row for the legend, with its number where there are more than colours tell apart."""
    name = textwrap.shorten(label(rows[place].encoder), 60, placeholder=" …")
    return name if len(rows) <= FEW else f"{place + 1}  {name}"


def _bar_panel(
    axis: Any, title: str, spreads: list[SeedValues | None], rows: Sequence[Row]
) -> None:
    axis.set_title(title)
    digits = 0 if any(s and s.mean >= 200 for s in spreads) else 1
    shades, few = _shades(rows), len(rows) <= FEW
    for place, (spread, shade) in enumerate(zip(spreads, shades, strict=True)):
        mean = 0.0 if spread is None else spread.mean
        colour, alpha = shade
        axis.bar(place, mean, width=0.72, color=colour, alpha=alpha, linewidth=0)
        if spread is None:
            continue
        sd = spread.sd or 0.0
        if sd:
            axis.errorbar(place, mean, yerr=sd, color=INK, linewidth=1.1, capsize=3)
        axis.annotate(
            f"{mean:.{digits}f}",
            (place, mean + sd),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9 if few else 8,
            rotation=0 if few else 90,
        )
    axis.set_xticks([] if few else range(len(rows)), None if few else range(1, len(rows) + 1))
    top = max([s.mean + (s.sd or 0.0) for s in spreads if s is not None], default=0.0)
    axis.set_ylim(0, (1.16 if few else 1.3) * top or 1)
    axis.yaxis.grid(True)
    axis.spines["left"].set_visible(False)


def _shades(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Give one colour per role; several encoders of a role get fainter and fainter."""
    count: dict[str, int] = {}
    shades = []
    for row in rows:
        role = row.encoder.role
        shades.append((COLOURS[role], max(0.35, 1 - 0.25 * count.get(role, 0))))
        count[role] = count.get(role, 0) + 1
    return shades


def _scored(rows: Sequence[Row]) -> bool:
    return sum(r.score is not None for r in rows) > 1


def _sweep(comparison: Comparison, group: Group, points: dict[float, Row], per_line: int) -> Figure:
    columns = _curved(comparison, points)
    whole = {a: r.score for a, r in points.items() if _covers(r, comparison.columns)}
    with_score = len(whole) >= SWEEP_POINTS
    figure, axes = panels(len(columns) + with_score, 2.6, per_line)
    chosen = {
        r.encoder.alpha
        for r in comparison.rows
        if r.encoder.role == "merged" and points.get(r.encoder.alpha or 0.0) is r
    }
    for axis, column in zip(axes, columns, strict=False):
        spreads = {a: r.cells[column.key] for a, r in points.items() if column.key in r.cells}
        _sweep_panel(axis, column.title + _own(column, group), spreads, chosen)
    if with_score:
        scores = {a: s for a, s in whole.items() if s is not None}
        _sweep_panel(axes[len(columns)], f"{comparison.score_name} ↑", scores, chosen)
    return figure


def _curved(comparison: Comparison, points: Mapping[float, Row]) -> list[Column]:
    """Give the columns that have points enough for a curve."""
    return [
        column
        for column in comparison.columns
        if sum(column.key in row.cells for row in points.values()) >= SWEEP_POINTS
    ]


def _own(column: Column, group: Group) -> str:
    return "  (tuned on)" if column.task in group.tuned_on.split(",") else ""


def _covers(row: Row, columns: Sequence[Column]) -> bool:
    return row.score is not None and all(c.key in row.cells for c in columns)


def _sweep_panel(
    axis: Any, title: str, spreads: dict[float, SeedValues], chosen: set[float | None]
) -> None:
    alphas = sorted(spreads)
    means = [spreads[a].mean for a in alphas]
    low = [spreads[a].mean - (spreads[a].sd or 0) for a in alphas]
    high = [spreads[a].mean + (spreads[a].sd or 0) for a in alphas]
    axis.set_title(title)
    axis.fill_between(alphas, low, high, color=MERGED, alpha=0.16, linewidth=0)
    axis.plot(alphas, means, color=MERGED, linewidth=2)
    if 0 in spreads:
        axis.axhline(spreads[0].mean, color=PRETRAINED, linewidth=1.2, linestyle=(0, (4, 3)))
    for alpha, mean in zip(alphas, means, strict=True):
        colour = {0.0: PRETRAINED, 1.0: FINETUNED}.get(alpha, MERGED)
        big = alpha in chosen or alpha in (0.0, 1.0)
        axis.plot(
            alpha,
            mean,
            marker="o",
            markersize=8 if big else 5,
            color=colour,
            markeredgecolor=colour,
            fillstyle="full" if big else "none",
        )
    axis.set_xticks(alphas, [f"{a:g}" for a in alphas])
    axis.set_xlabel("α")
    axis.margins(x=0.06, y=0.2)
    axis.yaxis.grid(True)
    axis.spines["left"].set_visible(False)
    digits = 0 if max(means) >= 200 else 1
    for alpha, name, neighbour in ((0.0, "θ₀", 1), (1.0, "θ′", -2)):
        if alpha in spreads:
            mean = spreads[alpha].mean
            above = means[neighbour] <= mean  # on the side that the curve leaves free
            axis.annotate(
                f"{name} {mean:.{digits}f}",
                (alpha, mean),
                xytext=(0, 8 if above else -8),
                textcoords="offset points",
                ha="left" if alpha == 0 else "right",
                va="bottom" if above else "top",
                fontsize=9,
            )


def _training(curves: Sequence[Curve], per_line: int) -> Figure:
    titles = list(dict.fromkeys(c.title for c in curves))
    figure, axes = panels(2 * len(titles), 2.3, min(2, per_line))
    for place, title in enumerate(titles):
        loss, rate = axes[2 * place], axes[2 * place + 1]
        loss.set_title(f"{title}: loss")
        rate.set_title("learning rate")
        same = [c for c in curves if c.title == title]
        for curve in same:
            points = [(r["update"], r["loss"], r["lr"]) for r in curve.records if "loss" in r]
            if not points:
                continue
            updates, losses, rates = zip(*points, strict=True)
            loss.plot(updates, _smooth(losses), color=FINETUNED, linewidth=1.4, alpha=0.85)
            rate.plot(updates, rates, color=MUTED, linewidth=1.4)
        for axis in (loss, rate):
            axis.set_xlabel("update")
            axis.yaxis.grid(True)
            axis.spines["left"].set_visible(False)
            axis.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter(lambda value, _: f"{value:.1e}" if value else "0")
    return figure


def _smooth(values: Sequence[float]) -> list[float]:
    """Give the exponential mean with a memory of a twentieth of the curve."""
    keep = 1 - 1 / max(1.0, len(values) / 20)
    result = [values[0]]
    for value in values[1:]:
        result.append(keep * result[-1] + (1 - keep) * value)
    return result
