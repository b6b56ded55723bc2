"""The precision that training computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from speechft.core.logging import get_logger

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "no", "bf16"]
_logger = get_logger(__name__)


def autocast(precision: Precision, device_type: str) -> torch.autocast:
    """Give the autocast context: `auto` means bf16 where a GPU has it, else float32."""
    import torch

    gpu_has_it = device_type == "cuda" and torch.cuda.is_bf16_supported()
    enabled = precision == "bf16" or (precision == "auto" and gpu_has_it)
    return torch.autocast(device_type, dtype=torch.bfloat16, enabled=enabled)


def warn_if_slow(precision: Precision, device_type: str) -> None:
    """Say so where bf16 is asked for and the processor only emulates it."""
    if precision != "bf16" or device_type != "cpu":
        return
    import torch

    # Older versions of torch do not tell.
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    x86 = known.get("architecture") == "x86_64"
    if x86 and not (known.get("avx512_bf16") or known.get("amx_bf16")):
        _logger.warning(
            "this processor has no bf16 of its own, so precision bf16 takes several times as long "
            "as float32 here (precision=no)"
        )
