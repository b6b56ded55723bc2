"""The figure of an analysis: similarity by layer, and against the distance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.analysis.table import Records, lines_of
from speechft.core.escaping import printable
from speechft.core.figure_style import SERIES, STYLE, legend_text
from speechft.core.files import atomic_path
from speechft.metrics.statistics import finite_mean


def draw(records: Records, path: Path) -> None:
    """Draw similarity by layer, and against the distance of the weights."""
    with mpl.rc_context(STYLE):
        lines = lines_of(records)
        titles = [_title(line.name) for line in lines]
        columns = max(1, 110 // (max(map(len, titles)) + 8))
        height = 3.6 + 0.2 * (len(lines) // columns)
        figure = Figure(figsize=(8.4, height), layout="constrained")
        by_layer, by_distance = figure.subplots(1, 2)
        for line, title, colour in zip(lines, titles, _colours(len(lines)), strict=True):
            by_layer.plot(
                range(len(line.cka)), line.cka, "o-", color=colour, label=title, markersize=4
            )
            by_distance.plot(line.distance, finite_mean(line.cka), "o", color=colour)
        by_layer.set_ylim(0, 103)
        by_distance.set_ylim(0, 103)
        by_distance.set_xlim(left=0)
        by_layer.set_xlabel("hidden state")
        by_layer.set_ylabel("CKA with θ0 (%)")
        by_layer.xaxis.get_major_locator().set_params(integer=True)
        by_distance.set_xlabel("distance of the weights (%)")
        by_distance.set_ylabel("mean CKA with θ0 (%)")
        figure.legend(
            *by_layer.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
        )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=130, metadata={"Software": ""})


def _title(name: str) -> str:
    """Give a name as matplotlib shows it: as it is, and never left out of the legend."""
    short = name if len(name) <= 32 else "…" + name[-31:]
    return legend_text(printable(short))


def _colours(count: int) -> list[Any]:
    """Give a colour for each line; where there are many, in order from dark to light."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    return [mpl.colormaps["viridis"](0.9 * n / (count - 1)) for n in range(count)]
