"""What all figures of a report share: panels, and the files that each is kept as."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.core.figure_style import themed
from speechft.core.files import atomic_path, write_text

PER_LINE = 3
NARROW = 4.2  # inches
Values = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: stem of the names of its files.
        title: heading in the page.
        caption: what to see in it.
        svg: for the page.
        narrow: the same with one panel a line, for a narrow page.
        width: of the one for the page, in points: it is not drawn out to more.
    """

    name: str
    title: str
    caption: str
    svg: str
    narrow: str
    width: float


def panels(count: int, height: float, per_line: int) -> tuple[Figure, list[Any]]:
    """Give a figure of `count` panels.

    Args:
        count: panels.
        height: of each, in inches.
        per_line: how many stand side by side at most; with 1 the figure is for a narrow page.
    """
    wide = min(count, per_line)
    lines = ceil(count / wide)
    width = NARROW if per_line == 1 else 9.6 * (wide / per_line) ** 0.5
    figure = Figure(figsize=(width, height * lines), layout="constrained")
    grid = figure.subplots(lines, wide, squeeze=False)
    axes = [axis for line in grid for axis in line]
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def keep(
    draw: Callable[[int], Figure], name: str, title: str, caption: str, folder: Path, values: Values
) -> Drawing:
    """Draw a figure for the page, and write it as PNG and SVG with its values as CSV.

    Args:
        draw: gives the figure with so many panels a line.
        name: stem of the files.
        title: heading in the page.
        caption: what to see in it.
        folder: gets `NAME.png`, `NAME.svg` and `NAME.csv`.
        values: what is drawn, a row per point.
    """
    figure = draw(PER_LINE)
    with atomic_path(folder / f"{name}.png") as temporary:
        figure.savefig(
            temporary, format="png", dpi=160, bbox_inches="tight", metadata={"Software": None}
        )
    vector = _svg(figure, name)
    write_text(folder / f"{name}.svg", vector)
    write_text(folder / f"{name}.csv", csv_text(values))
    (width,) = re.findall(r'<svg[^>]* width="([\d.]+)pt"', vector)
    other = f"{name}-narrow"
    narrow = themed(_svg(draw(1), other), other)
    return Drawing(name, title, caption, themed(vector, name), narrow, float(width))


def csv_text(values: Values) -> str:
    """Give rows as CSV; a column for every key, in the order in which they come."""
    columns = list(dict.fromkeys(key for row in values for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(values)
    return text.getvalue()


def _svg(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
        )
    return buffer.getvalue()
