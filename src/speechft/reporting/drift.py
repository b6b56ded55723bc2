"""A heat map of how near each encoder's hidden states are to θ0's, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from speechft.analysis.settings import RECORDS
from speechft.core.artifact import RECORD
from speechft.core.escaping import printable
from speechft.core.figure_style import INK, MERGED, legend_text
from speechft.metrics.statistics import mean
from speechft.reporting.contrasts import read_rows
from speechft.reporting.encoder_roles import read_about
from speechft.reporting.figure_files import NARROW
from speechft.reporting.read_results import visible

CAPTION: Final = (
    "CKA of the hidden states with those of θ₀, in percent, mean over the seeds: the darker, the "
    "nearer. 0 is the transformer's input, the last is its output."
)
Drift = dict[str, list[float]]
_OF_A_SEED: Final = ("seed", "encoders", "names", "heads")  # what differs between seeds


def read_drift(folders: Sequence[Path]) -> Drift:
    """Give encoder → CKA of each hidden state, from what `speechft analyze` left in runs.

    Analyses of one run that differ in the seed alone are one, by their mean; others of the same
    encoder's name are told apart by their folders.
    """
    found: dict[str, dict[tuple[str, str], list[list[float]]]] = {}
    places: dict[tuple[str, str], str] = {}
    for folder in dict.fromkeys(folders):
        for file in visible(folder, RECORDS):
            depends = read_about(file.parent / RECORD).get("depends")
            depends = depends if isinstance(depends, Mapping) else {}
            same = {k: v for k, v in depends.items() if k not in _OF_A_SEED}
            key = str(folder.resolve()), repr(sorted(same.items()))
            places.setdefault(key, file.parent.as_posix())
            for name, values in _read(file).items():
                found.setdefault(name, {}).setdefault(key, []).append(values)
    drift: Drift = {}
    for name, analyses in found.items():
        for key, own in analyses.items():
            longest = max(map(len, own))
            whole = [values for values in own if len(values) == longest]
            title = f"{name} ({places[key]})" if len(analyses) > 1 else name
            drift[title] = [mean(column) for column in zip(*whole, strict=True)]
    return drift


def _read(file: Path) -> Drift:
    """Give what one analysis says; encoders of which a state is missing are left out."""
    found: dict[str, dict[int, float]] = {}
    for record in read_rows(file):
        try:
            if record["measure"] != "cka":
                continue
            value, layer = float(record["value"]), int(record["layer"])
            name = printable(str(record["encoder"]))
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            found.setdefault(name, {})[layer] = value
    return {
        name: [own[layer] for layer in range(len(own))]
        for name, own in found.items()
        if sorted(own) == list(range(len(own)))
    }


def draw_drift(drift: Mapping[str, Sequence[float]], per_line: int) -> Figure:
    """Draw a row per encoder, a column per hidden state."""
    width = max(map(len, drift.values()))
    size = (NARROW if per_line == 1 else 9.6, 0.9 + 0.42 * len(drift))
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    text: Any = {"color": INK, "ha": "center", "va": "center", "fontsize": 8}
    for line, values in enumerate(drift.values()):
        for layer, value in enumerate(values):
            share = min(1.0, max(0.0, value / 100))
            axis.barh(line, 1, left=layer - 0.5, height=1, color=MERGED, alpha=0.85 * share**2)
            if width <= 13 and per_line > 1:
                axis.text(layer, line, f"{value:.0f}", **text)
    short = 44 if per_line > 1 else 18
    names = [legend_text(name if len(name) <= short else f"…{name[1 - short :]}") for name in drift]
    axis.set_yticks(range(len(drift)), names)
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(len(drift) - 0.5, -0.5)
    axis.set_xlabel("hidden state")
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    return figure


def values_of(drift: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Give what the figure shows, a row per value."""
    return [
        {"encoder": name, "state": state, "cka": round(value, 4)}
        for name, values in drift.items()
        for state, value in enumerate(values)
    ]
