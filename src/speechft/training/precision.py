"""The precision that training computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "no", "bf16"]


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Give the context that training computes in.

    `auto` means bf16 where a GPU has it, else float32; bf16 on a processor or GPU that only
    emulates it is computed in float32.
    """
    from speechft.core.devices import bfloat16_where_wanted, has_bfloat16

    gpu_has_it = device.type == "cuda" and has_bfloat16(device)
    wanted = precision == "bf16" or (precision == "auto" and gpu_has_it)
    return bfloat16_where_wanted(device, wanted)
