"""The study's figures: differences to θ0 by row, and lines over what was varied."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.core.files import atomic_path
from speechft.core.theme import FINETUNED, INK, MERGED, MUTED, SERIES, STYLE
from speechft.reporting.study.scatter import CAPTION, scatter
from speechft.reporting.study.settings import FEATURES, StudySettings
from speechft.reporting.study.specs import SCORE, RowSpec
from speechft.reporting.study.table import Table

DIFFERENCES = "differences"
LINES = "lines"
MOVED = "moved"


def draw(study: StudySettings, table: Table, folder: Path) -> list[tuple[str, str]]:
    """Draw what the study allows into `folder`; give (file name, caption) of every figure."""
    figures: list[tuple[str, str]] = []
    with mpl.rc_context(STYLE):
        compared = [r for r in study.grouped if r.x is None and table.against(r, r.before)]
        if compared:
            _save(_bars(table, compared), folder / f"{DIFFERENCES}.png")
            caption = (
                "Score minus the pretrained encoder's, paired by seed. Whiskers are one standard "
                "deviation of the differences, dots the seeds."
            )
            figures.append((f"{DIFFERENCES}.png", caption))
        lines = [r for r in study.grouped if r.x is not None and table.spread(r.name, SCORE)]
        if lines:
            _save(_lines(study, table, lines), folder / f"{LINES}.png")
            figures.append((f"{LINES}.png", _caption(study)))
        moved = [r for r in study.grouped if r.x is None]
        moved = [r for r in moved if table.spread(r.name, f"{FEATURES} cka")]
        if moved:
            _save(scatter(table, moved), folder / f"{MOVED}.png")
            figures.append((f"{MOVED}.png", CAPTION))
    return figures


def _caption(study: StudySettings) -> str:
    over = f" by {study.x_title}" if study.x_title else ""
    return f"Score{over}; bands are one standard deviation of the seeds."


def _bars(table: Table, rows: list[RowSpec]) -> Figure:
    several = len({row.group for row in rows}) > 1
    titles = [f"{r.group} · {r.title}" if several and r.group else r.title for r in rows]
    # Long titles would leave no room for the bars.
    titles = [textwrap.fill(textwrap.shorten(title, 80, placeholder=" …"), 44) for title in titles]
    height = 0.42 if any("\n" in title for title in titles) else 0.3
    figure = Figure(figsize=(7.2, 0.9 + height * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(rows):
        difference = table.against(row, row.before)
        if difference is None:
            continue
        colour = MERGED if difference.mean > 0 else FINETUNED
        axes.barh(place, difference.mean, height=0.62, color=colour, alpha=0.85)
        axes.errorbar(difference.mean, place, xerr=difference.sd or 0, color=INK, linewidth=1.2)
        values = difference.values
        axes.plot(values, [place] * len(values), "o", color=INK, markersize=2.5)
    axes.set_yticks(range(len(rows)), titles)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row at the top
    axes.set_xlabel("score minus θ0's")
    axes.grid(axis="x")
    return figure


def _lines(study: StudySettings, table: Table, rows: list[RowSpec]) -> Figure:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(row.line for row in rows))
    for number, name in enumerate(names):
        own = sorted((r for r in rows if r.line == name), key=lambda r: float(r.x or 0))
        spreads = [s for r in own if (s := table.spread(r.name, SCORE)) is not None]
        places = [float(r.x or 0) for r in own]
        means = [s.mean for s in spreads]
        colour = SERIES[number % len(SERIES)]
        axes.plot(places, means, "o-", color=colour, label=name, markersize=4)
        low = [s.mean - (s.sd or 0) for s in spreads]
        high = [s.mean + (s.sd or 0) for s in spreads]
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel(study.x_title)
    axes.set_ylabel("score")
    axes.grid(axis="y")
    if len(names) > 1:
        axes.legend(frameon=False)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, metadata={"Software": ""})
