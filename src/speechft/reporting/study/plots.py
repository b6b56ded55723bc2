"""The study's figures: differences to θ0 by row, lines over what was varied, and a plot of both.

That plot has hidden states against weights: where the rows' encoders lie, beside θ0.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.core.figure_style import FINETUNED, INK, MERGED, MUTED, SERIES, STYLE
from speechft.core.files import atomic_path
from speechft.reporting.study.settings import FEATURES, StudySettings
from speechft.reporting.study.stage_and_row_settings import SCORE, RowSpec
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


CAPTION: Final = (
    "How alike the hidden states are to the pretrained encoder's, against how far the weights have "
    "moved; mean over the seeds, colours and shapes by group. Rows at one place share a label."
)
_MARKERS: Final = "os^D"
_SIZE: Final = 7.0  # of the labels, in points
_TITLE: Final = 64  # letters of a row's title
Box = tuple[float, float, float, float]


@dataclass
class _Mark:
    """A place in percent, with the numbers of the rows that lie there or nearly there."""

    x: float
    y: float
    colour: str
    numbers: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The numbers."""
        return ", ".join(self.numbers)

    def near(self, x: float, y: float) -> bool:
        """Whether a place is so near that two dots would lie on each other."""
        return abs(self.x - x) < 0.3 and abs(self.y - y) < 0.5


def scatter(table: Table, rows: Sequence[RowSpec]) -> Figure:
    """Draw the rows by the distance of their weights (x) and their CKA (y), both to θ0's."""
    figure = Figure(figsize=(8.8, max(3.6, 0.2 * len(rows))), layout="constrained")
    axes = figure.add_subplot()
    groups = list(dict.fromkeys(row.group for row in rows))
    marks: list[_Mark] = []
    for number, row in enumerate(rows, start=1):
        far, alike = (table.spread(row.name, f"{FEATURES} {m}") for m in ("distance", "cka"))
        if far is None or alike is None:
            continue
        turn, tone = divmod(groups.index(row.group), len(SERIES))
        colour, marker = SERIES[tone], _MARKERS[turn % len(_MARKERS)]
        title = textwrap.shorten(row.heading, _TITLE, placeholder=" …")
        label = f"{number} {title}"
        axes.plot(far.mean, alike.mean, marker, color=colour, markersize=5, label=label)
        near = next((m for m in marks if m.near(far.mean, alike.mean)), None)
        if near is None:
            marks.append(near := _Mark(far.mean, alike.mean, colour))
        near.numbers.append(str(number))
    axes.set_xlabel("distance of the weights from θ0 (%)")
    axes.set_ylabel("CKA with θ0 (%)")
    axes.set_xlim(left=0)
    axes.grid(axis="y")
    figure.legend(loc="outside right upper", fontsize=_SIZE, frameon=False)
    figure.draw_without_rendering()  # where a place lies in the figure is known from here on
    scale = 72 / figure.dpi
    places = [axes.transData.transform((m.x, m.y)) * scale for m in marks]
    offsets = label_offsets([(x, y) for x, y in places], [mark.label for mark in marks])
    for mark, offset in zip(marks, offsets, strict=True):
        axes.annotate(
            mark.label,
            (mark.x, mark.y),
            offset,
            textcoords="offset points",
            fontsize=_SIZE,
            color=mark.colour,
        )
    return figure


def label_offsets(
    places: Sequence[tuple[float, float]], labels: Sequence[str]
) -> list[tuple[float, float]]:
    """Give where each label goes, beside its dot, so that it covers no dot and no other label.

    Args:
        places: of the dots, in points.
        labels: their texts.

    Returns:
        Offsets of the labels' lower left corners in points; the nearest free ones.
    """
    dots = [(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    taken: list[Box] = []
    found: list[tuple[float, float]] = []
    for own, ((x, y), text) in enumerate(zip(places, labels, strict=True)):
        wide = 0.62 * _SIZE * len(text)
        steps = (2.0, -7.0, 10.0, -15.0, 18.0, -23.0)
        choices = [*product((4.0, -4.0 - wide), steps), *product((14.0, -14.0 - wide), steps)]
        others = [dot for n, dot in enumerate(dots) if n != own]
        covered = {
            one: sum(_covers(_box(x, y, one, wide), box) for box in (*taken, *others))
            for one in choices
        }
        best = min(choices, key=lambda one: covered[one])  # the first of the best: the nearest
        taken.append(_box(x, y, best, wide))
        found.append(best)
    return found


def _box(x: float, y: float, offset: tuple[float, float], wide: float) -> Box:
    left, low = x + offset[0], y + offset[1]
    return (left, low, left + wide, low + _SIZE)


def _covers(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
