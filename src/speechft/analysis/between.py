"""Points between two encoders that are in memory already."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from speechft.core.errors import IncompatibleModelsError
from speechft.encoders import SpeechEncoder


@torch.no_grad()
def fill(point: SpeechEncoder, base: SpeechEncoder, other: SpeechEncoder, alpha: float) -> None:
    """Put θ0 + alpha · (θ − θ0), in float32, into an encoder with the base's tensors."""
    start, end = base.model.state_dict(), other.model.state_dict()
    for name, tensor in point.model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_((end[name] - start[name]).mul_(alpha).add_(start[name]))


def check_same_tensors(
    base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], label: str
) -> None:
    """Refuse two encoders of which one has tensors that the other lacks.

    Raises:
        IncompatibleModelsError: the names or shapes differ.
    """
    if {n: t.shape for n, t in base.items()} != {n: t.shape for n, t in tuned.items()}:
        differing = sorted(set(base) ^ set(tuned)) or sorted(
            n for n in base if base[n].shape != tuned[n].shape
        )
        raise IncompatibleModelsError(
            "the two encoders have different tensors",
            where=label,
            found=f"{len(differing)} that differ, first {differing[0]}",
        )
