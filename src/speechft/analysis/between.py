"""Points between two encoders that are in memory already."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from speechft.core.errors import IncompatibleModelsError
from speechft.encoders import SpeechEncoder
from speechft.merging.methods.base import linear


def interpolate(
    base: SpeechEncoder, tuned: SpeechEncoder, alpha: float, label: str
) -> SpeechEncoder:
    """Give θ0 + alpha · (θ' − θ0), in float32, with the weights in the place of the base's.

    Raises:
        IncompatibleModelsError: the two encoders differ in their tensors.
    """
    start, end = base.model.state_dict(), tuned.model.state_dict()
    check_same_tensors(start, end, label)
    mixed = {
        name: torch.from_numpy(linear(t.numpy(), [end[name].numpy()], alpha=alpha))
        if t.is_floating_point()
        else t
        for name, t in start.items()
    }
    base.model.load_state_dict(mixed)
    return base


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
