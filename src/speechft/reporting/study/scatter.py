"""The plot of hidden states against weights: where the rows' encoders lie, beside θ0."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from matplotlib.figure import Figure

from speechft.core.theme import SERIES
from speechft.reporting.study.settings import FEATURES
from speechft.reporting.study.specs import RowSpec
from speechft.reporting.study.table import Table

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
