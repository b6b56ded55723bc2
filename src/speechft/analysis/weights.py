"""How far an encoder's weights have moved, part by part."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

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
    others = parameters_of(other)
    for name, start in parameters_of(base).items():
        before, after = start.detach().double().cpu(), others[name].detach().double().cpu()
        for part in (ALL, _part(name, front)):
            moved[part] = moved.get(part, 0.0) + float((after - before).square().sum())
            length[part] = length.get(part, 0.0) + float(before.square().sum())
    return {
        part: 100 * math.sqrt(moved[part] / length[part])
        for part in sorted(length, key=_order)
        if length[part] > 0
    }


def parameters_of(encoder: SpeechEncoder) -> Mapping[str, Tensor]:
    """Give the parameters that count: front end and encoder, no decoder."""
    return {**encoder.front_end_parameters(), **encoder.encoder_parameters()}


def vectors(
    base: Mapping[str, Tensor], others: Mapping[str, Mapping[str, Tensor]]
) -> list[dict[str, Any]]:
    """Say how far several encoders moved, tensor by tensor, and how that stands to each other.

    Args:
        base: θ0's parameters.
        others: label → an encoder's parameters of the same names.

    Returns:
        Records: the cosine of every two task vectors over all tensors, -1 to 1, none where one is
        0; for each tensor of two or more encoders the share of its entries of which one task
        vector is above and another below 0, in percent; and for each encoder and tensor the length
        of the task vector, in percent of θ0's, none where that is 0.

    Source of the conflicts: Yadav et al. 2023, "TIES-Merging", section 3.
    """
    labels = list(others)
    products = torch.zeros(len(labels), len(labels), dtype=torch.float64)
    conflicts: list[dict[str, Any]] = []
    deviations: list[dict[str, Any]] = []
    for name, start in base.items():
        before = start.detach().double().cpu().flatten()
        moved = torch.stack([others[k][name].detach().double().cpu().flatten() for k in labels])
        moved -= before
        products += moved @ moved.T
        size = float(before.norm())
        for label, length in zip(labels, moved.norm(dim=1).tolist(), strict=True):
            of_all = 100 * length / size if size > 0 else None
            about = {"encoder": label, "tensor": name, "value": of_all}
            deviations.append({"measure": "deviation", **about})
        if len(labels) < 2:
            continue
        against = (moved > 0).any(dim=0) & (moved < 0).any(dim=0)
        share = 100 * float(against.double().mean())
        conflicts.append({"measure": "sign conflict", "tensor": name, "value": share})
    lengths = products.diagonal().sqrt()
    cosines: list[dict[str, Any]] = []
    for i, j in combinations(range(len(labels)), 2):
        size = float(lengths[i] * lengths[j])
        value = float(products[i, j]) / size if size > 0 else None
        names = {"encoder": labels[i], "with": labels[j]}
        cosines.append({"measure": "vector cosine", **names, "value": value})
    return cosines + conflicts + deviations


def _part(name: str, front: set[str]) -> str:
    if name in front:
        return "CNN front end"
    layer = _LAYER.search(name)
    return f"layer {int(layer.group(1)) + 1}" if layer else "rest"


def _order(part: str) -> tuple[int, int]:
    if part.startswith("layer "):
        return 2, int(part.split()[1])
    return {ALL: 0, "CNN front end": 1}.get(part, 3), 0
