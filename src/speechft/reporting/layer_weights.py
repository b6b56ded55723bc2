"""Which hidden states the probes took: the weights of their sums over the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speechft.core.escaping import task_heading
from speechft.core.figure_style import COLOURS, legend_text
from speechft.reporting.comparison import Comparison
from speechft.reporting.figure_files import panels
from speechft.reporting.findings import label
from speechft.reporting.measurements import Encoder, Measurement
from speechft.reporting.read_results import refuse_edited

CAPTION = (
    "The weight that each task's probe has given to every hidden state, mean over the seeds: 0 is "
    "the transformer's input, the last is its output. The weights of a probe sum to 1."
)
_MOST = 8  # encoders whose lines are told apart
_KEY = "weighted_sum.weights"
_DASHES: Sequence[Any] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
Profiles = dict[str, dict[Encoder, NDArray[np.float64]]]


def profiles(comparison: Comparison) -> Profiles:
    """Give task → encoder → the weight of every hidden state (K,), from the kept heads."""
    found: dict[str, dict[Encoder, list[NDArray[np.float64]]]] = {}
    for row in comparison.rows[:_MOST]:
        heads = {(m.task, m.seed): m for m in row.measurements}
        for (task, _), one in heads.items():
            weights = _weights(one)
            if weights is not None:
                found.setdefault(task, {}).setdefault(row.encoder, []).append(weights)
    return {
        task: {
            encoder: np.mean(many, axis=0)
            for encoder, many in own.items()
            if len({len(weights) for weights in many}) == 1
        }
        for task, own in found.items()
    }


def _weights(one: Measurement) -> NDArray[np.float64] | None:
    """Read a kept head's weights; none where no head is kept or it has no such sum."""
    path = None if one.predictions is None else one.predictions.with_name("head.safetensors")
    if path is None or not path.is_file():
        return None
    refuse_edited(path)
    try:
        raw = _raw(path)
    except (OSError, ValueError, SafetensorError):
        return None
    if raw is None or raw.ndim != 1 or not np.isfinite(raw).all():
        return None
    powers = np.exp(raw - raw.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _raw(path: Path) -> NDArray[np.float64] | None:
    with safe_open(path, framework="np") as head:
        if _KEY in head.keys():  # noqa: SIM118
            return np.array(head.get_tensor(_KEY), dtype=np.float64)
    return None


def draw_profiles(found: Mapping[str, Mapping[Encoder, NDArray[np.float64]]], line: int) -> Figure:
    """Draw a panel per task."""
    figure, axes = panels(len(found), 2.4, line)
    lines: dict[Encoder, Any] = {}
    count: dict[str, int] = {}
    dashes: dict[Encoder, Any] = {}
    for axis, (task, own) in zip(axes, found.items(), strict=False):
        axis.set_title(task_heading(task))
        for encoder, weights in own.items():
            if encoder not in dashes:
                dashes[encoder] = _DASHES[count.get(encoder.role, 0) % len(_DASHES)]
                count[encoder.role] = count.get(encoder.role, 0) + 1
            (lines[encoder],) = axis.plot(
                range(len(weights)),
                weights,
                color=COLOURS[encoder.role],
                linestyle=dashes[encoder],
                linewidth=1.8,
                label=legend_text(label(encoder)),
            )
        axis.set_xlabel("hidden state")
        axis.locator_params("x", integer=True)
        axis.set_ylim(bottom=0)
        axis.yaxis.grid(True)
        axis.spines["left"].set_visible(False)
    figure.legend(
        handles=list(lines.values()),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3 if line > 1 and len(lines) <= 4 else 1,
        frameon=False,
    )
    return figure


def values_of(found: Mapping[str, Mapping[Encoder, NDArray[np.float64]]]) -> list[dict[str, Any]]:
    """Give what the figure shows, a row per weight."""
    return [
        {"task": task, "encoder": label(encoder), "state": state, "weight": round(float(weight), 6)}
        for task, own in found.items()
        for encoder, weights in own.items()
        for state, weight in enumerate(weights)
    ]
