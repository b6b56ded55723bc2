"""Linear layers on oneDNN, where torch would call a slower matrix product.

In float32 on a CPU, torch hands linear layers to MKL, which leaves half of the speed of AMD
processors unused; oneDNN, which comes with torch as well, does not (about 100 against 210 GFLOP/s
on one core of an AMD EPYC with AVX-512). On Intel's own processors MKL is as fast forwards and a
fifth faster with gradients, so there the layers stay as they are. Half precision goes to oneDNN
anyway.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FastLinear(nn.Linear):
    """`nn.Linear` with the same weights and, within rounding, the same results."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to (..., in) → (..., out)."""
        if not _worth_it(input, self.weight):
            return super().forward(input)
        rows = input.reshape(-1, input.shape[-1])
        tracked = torch.is_grad_enabled() and (
            rows.requires_grad or self.weight.requires_grad or self._bias_tracked()
        )
        output = (
            _Product.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
            if tracked
            else _product(rows, self.weight, self.bias)
        )
        result: Tensor = output.view(*input.shape[:-1], -1)
        return result

    def _bias_tracked(self) -> bool:
        return self.bias is not None and self.bias.requires_grad


def use_fast_linear(model: nn.Module) -> None:
    """Turn the plain linear layers of a model into fast ones, in place; names and weights stay."""
    if not _AVAILABLE or _is_intel():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear


_AVAILABLE = bool(torch._C._has_mkldnn) and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@cache
def _is_intel(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the processor is one that MKL is made for; where that is not said, it is not."""
    try:
        return "GenuineIntel" in cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def _worth_it(rows: Tensor, weight: Tensor) -> bool:
    return (
        rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and weight.dtype == torch.float32
        and rows.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
    )


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Give rows (M, K) times weight (N, K) transposed, plus bias (N,)."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return result


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        wants_rows, wants_weight, wants_bias = ctx.needs_input_grad
        gradient = gradient.contiguous()
        return (
            _product(gradient, weight.t().contiguous(), None) if wants_rows else None,
            _product(gradient.t().contiguous(), rows.t().contiguous(), None)
            if wants_weight
            else None,
            gradient.sum(dim=0) if wants_bias else None,
        )
