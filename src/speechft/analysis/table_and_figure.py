"""An analysis for people: a table for the terminal and for Markdown, and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from speechft.analysis.weights import ALL
from speechft.core.escaping import markdown_text, printable
from speechft.core.figure_style import SERIES, STYLE, legend_text
from speechft.core.files import atomic_path
from speechft.metrics.statistics import finite_mean

FIGURE: Final = "similarity.png"
Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Line:
    """One encoder against θ0, all in percent.

    Attributes:
        name: of the encoder.
        distance: length of the task vector, of θ0's length.
        cka: linear CKA of each hidden state.
        svcca: SVCCA of each hidden state; empty in analyses of earlier versions.
        cosine: mean cosine of each hidden state.
        connected: alpha → cosine of each hidden state with the interpolated ones.
        barrier: of the head's error on the way from θ0, in points; none without a head.
    """

    name: str
    distance: float
    cka: list[float]
    svcca: list[float]
    cosine: list[float]
    connected: dict[float, list[float]]
    barrier: float | None = None


def lines_of(records: Records) -> list[Line]:
    """Put an analysis' records together by encoder."""
    names = dict.fromkeys(str(one["encoder"]) for one in records)
    return [_line(name, [one for one in records if one["encoder"] == name]) for name in names]


def summary(records: Records) -> dict[str, float]:
    """Give one encoder's figures: distance, and means over the hidden states of all else."""
    (line,) = lines_of(records)
    figures = {
        "distance": line.distance,
        "cka": finite_mean(line.cka),
        "cosine": finite_mean(line.cosine),
    }
    connected = [value for values in line.connected.values() for value in values]
    figures |= {"connectivity": finite_mean(connected)} if connected else {}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def rows(records: Records) -> tuple[list[str], list[list[str]]]:
    """Give the headings and the cells of the table that sums an analysis up."""
    lines = lines_of(records)
    alphas = list(dict.fromkeys(alpha for line in lines for alpha in line.connected))
    headed = any(line.barrier is not None for line in lines)
    heads = [
        "encoder",
        "distance",
        "CKA",
        "CKA last",
        "SVCCA",
        "cosine",
        *(f"linear {a:g}" for a in alphas),
        *(["barrier"] if headed else []),
    ]
    return heads, [
        [
            line.name,
            f"{line.distance:.2f}",
            *(
                _text(value)
                for value in (
                    *(finite_mean(line.cka), line.cka[-1]),
                    *(finite_mean(line.svcca), finite_mean(line.cosine)),
                )
            ),
            *(_text(finite_mean(line.connected[alpha])) for alpha in alphas),
            *([_text(math.nan if line.barrier is None else line.barrier)] if headed else []),
        ]
        for line in lines
    ]


def markdown(records: Records, base: str, utterances: int) -> str:
    """Give the page."""
    heads, cells = rows(records)
    table = [heads, ["---", *["---:"] * (len(heads) - 1)], *cells]
    text = "\n".join("| " + " | ".join(markdown_text(c) for c in row) + " |" for row in table)
    return f"""# Beside {markdown_text(base)}

{text}

Percent, over {utterances} utterances. *distance*: length of the task vector, of the base's
weights. *CKA*, *cosine*: how alike the hidden states are to the base's (linear CKA; mean cosine
frame by frame), mean over the layers, and CKA of the last; *SVCCA*: mean canonical correlation of
the directions that hold 99 % of the variance. *linear*: cosine between the hidden
states of the encoder at that alpha and the mixture of both encoders' states; 100 where
interpolating weights interpolates features. *barrier*, where heads were given: how many points the
error of the encoder's head lies above the line between both ends at most.

![Similarity by layer, and against the distance]({FIGURE})
"""


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


def _line(name: str, own: Records) -> Line:
    def of(measure: str, alpha: float | None = None) -> list[float]:
        found = [r for r in own if r["measure"] == measure and r.get("alpha") == alpha]
        ordered = sorted(found, key=lambda r: int(r["layer"]))
        return [math.nan if r["value"] is None else float(r["value"]) for r in ordered]

    (distance,) = (r["value"] for r in own if r["measure"] == "distance" and r["part"] == ALL)
    alphas = dict.fromkeys(r["alpha"] for r in own if r["measure"] == "connectivity")
    return Line(
        name,
        float(distance),
        of("cka"),
        of("svcca"),
        of("cosine"),
        {a: of("connectivity", a) for a in alphas},
        next((float(r["value"]) for r in own if r["measure"] == "error barrier"), None),
    )


def _text(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
