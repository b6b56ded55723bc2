"""AdamW, with moments in float32 or in 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from speechft.core.errors import SettingsError
from speechft.core.extras import pip_install
from speechft.core.logging import quieten_kernels

if TYPE_CHECKING:
    import torch

Optimiser = Literal["adam", "adam-8bit"]
MOMENTS: Final[dict[Optimiser, float]] = {"adam": 2.0, "adam-8bit": 0.51}
"""Bytes of both moments over those of a float32 weight; in 8 bits a block of 256 has a scale."""
_LIBRARY: Final = "bitsandbytes"


def make_optimiser(
    kind: Optimiser,
    parameters: Iterable[torch.nn.Parameter] | list[dict[str, Any]],
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Give AdamW over all parameters: torch's fused one, or bitsandbytes' with moments in 8 bits.

    Args:
        kind: `adam` or `adam-8bit`, which keeps moments of fewer than 4096 values in float32.
        parameters: or groups of them.
        learning_rate: to begin with.
        betas: decays of the moments.
        weight_decay: decoupled.

    Raises:
        SettingsError: bitsandbytes is not installed.

    Source:
        Dettmers et al., "8-bit Optimizers via Block-wise Quantization", 2022.
    """
    import torch

    given = {"lr": learning_rate, "betas": betas, "weight_decay": weight_decay}
    if kind == "adam":
        return torch.optim.AdamW(parameters, **given, fused=True)  # type: ignore[arg-type]
    if find_spec(_LIBRARY) is None:
        raise SettingsError(
            f"{_LIBRARY} is not installed",
            where="optimiser",
            hint=f"{pip_install(_LIBRARY)}, or leave optimiser out",
        )
    quieten_kernels()
    from bitsandbytes.optim import AdamW8bit

    made: torch.optim.Optimizer = AdamW8bit(parameters, **given)
    return made
