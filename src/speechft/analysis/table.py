"""An analysis as a table, for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from speechft.analysis.weights import ALL
from speechft.core.escaping import markdown_text
from speechft.metrics.statistics import finite_mean

FIGURE: Final = "similarity.png"
"""Beside the page; `draw` makes it."""
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
