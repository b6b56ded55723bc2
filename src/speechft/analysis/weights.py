"""How far an encoder's weights have moved, part by part."""

from __future__ import annotations

import math
import re

from speechft.encoders import SpeechEncoder

ALL = "all"
_LAYER = re.compile(r"(?:^|\.)encoder\.layers\.(\d+)\.")


def distances(base: SpeechEncoder, other: SpeechEncoder) -> dict[str, float]:
    """Give the length of the task vector in percent of the base's weights, by part.

    Args:
        base: θ0.
        other: an encoder with the same parameters.

    Returns:
        "all", "CNN front end", "layer 1" …, "rest" (projection, positions, norms) →
        100 · ‖θ − θ0‖ / ‖θ0‖ over the part's parameters; parts without any are left out.
    """
    front = set(base.front_end_parameters())
    moved: dict[str, float] = {}
    length: dict[str, float] = {}
    others = other.front_end_parameters() | other.encoder_parameters()
    for name, start in (base.front_end_parameters() | base.encoder_parameters()).items():
        before, after = start.detach().double().cpu(), others[name].detach().double().cpu()
        for part in (ALL, _part(name, front)):
            moved[part] = moved.get(part, 0.0) + float((after - before).square().sum())
            length[part] = length.get(part, 0.0) + float(before.square().sum())
    return {
        part: 100 * math.sqrt(moved[part] / length[part])
        for part in sorted(length, key=_order)
        if length[part] > 0
    }


def _part(name: str, front: set[str]) -> str:
    if name in front:
        return "CNN front end"
    layer = _LAYER.search(name)
    return f"layer {int(layer.group(1)) + 1}" if layer else "rest"


def _order(part: str) -> tuple[int, int]:
    if part.startswith("layer "):
        return 2, int(part.split()[1])
    return {ALL: 0, "CNN front end": 1}.get(part, 3), 0
