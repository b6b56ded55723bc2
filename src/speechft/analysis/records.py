"""What an analysis keeps: a record per encoder, measure and layer or part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from speechft.analysis.features import Cosines, Layers, Likeness

Record = dict[str, Any]


def records_of(label: str, moved: Mapping[str, float], found: Likeness) -> list[Record]:
    """Give an encoder's records; all values in percent.

    Args:
        label: its name.
        moved: part → length of the task vector.
        found: of its hidden states; what says nothing is None.
    """
    records: list[Record] = [
        {"encoder": label, "measure": "distance", "part": part, "value": value}
        for part, value in moved.items()
    ]

    def add(measure: str, layers: Layers | Cosines, what: str, **more: float) -> None:
        records.extend(
            {
                "encoder": label,
                "measure": measure,
                **more,
                "layer": layer,
                "value": _percent(getattr(one, what)),
                "frames": one.frames,
            }
            for layer, one in enumerate(layers)
        )

    for measure in ("cka", "unbiased_cka", "cca", "svcca", "cosine"):
        add(measure, found.to_base, measure)
    for alpha, layers in found.connected.items():
        add("connectivity", layers, "cosine", alpha=alpha)
    return records


def _percent(share: float) -> float | None:
    return 100 * share if math.isfinite(share) else None
