"""Linear layers of transformers as they are computed here: the same numbers, faster.

Linear layers go to oneDNN. In float32 on a CPU, torch hands them to MKL, which leaves half of the
speed of AMD processors unused; oneDNN, which comes with torch as well, does not (about 100 against
210 GFLOP/s on one core of an AMD EPYC with AVX-512). On Intel's own processors MKL is as fast
forwards and a fifth faster with gradients, so there it stays so. Half precision goes to oneDNN
anyway; in training under autocast, a weight's copy in bfloat16 is made again on the way back, not
kept, and layers that read the same states (query, key and value) share their copy of them: at Base
size, with 24 s in a batch, such copies would be a third of what is kept.
"""

from __future__ import annotations

import weakref
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FastLinear(nn.Linear):
    """`nn.Linear` with the same weights and, within rounding, the same results."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer to (..., in) → (..., out)."""
        rows = input.reshape(-1, input.shape[-1])
        parts = (rows, self.weight, self.bias)
        tracked = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in parts)
        if _worth_it(input, self.weight):
            output = (
                _Product.apply(*parts)  # type: ignore[no-untyped-call]
                if tracked
                else _product(*parts)
            )
        elif tracked and _in_half(input, self.weight):
            output = _HalfProduct.apply(rows, _in_bfloat16(input), *parts[1:])  # type: ignore[no-untyped-call]
        else:
            return super().forward(input)
        result: Tensor = output.view(*input.shape[:-1], len(self.weight))
        return result


def use_fast_linear(model: nn.Module) -> None:
    """Turn the plain linear layers of a model into fast ones, in place; names and weights stay."""
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
    fast = _AVAILABLE and not _is_intel()
    return fast and plain_on_cpu(rows, weight) and rows.numel() > 0 and not is_traced()


def _in_half(rows: Tensor, weight: Tensor) -> bool:
    return (
        rows.device.type == "cpu"
        and weight.dtype == torch.float32
        and autocasts_to_bfloat16()
        and not is_traced()
    )


def is_traced() -> bool:
    """Tell whether torch compiles what is computed, or transforms it (`torch.func`)."""
    return torch.compiler.is_compiling() or bool(torch._C._are_functorch_transforms_active())


def autocasts_to_bfloat16() -> bool:
    """Tell whether autocast computes products on a CPU in bfloat16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def plain_on_cpu(x: Tensor, weight: Tensor) -> bool:
    """Tell whether a product is computed in float32 on a CPU, just as it is written."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
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


_seen_last: list[tuple[weakref.ref[Tensor], int, weakref.ref[Tensor]]] = []


def _in_bfloat16(input: Tensor) -> Tensor:
    """Give rows (M, K) in bfloat16; layers in a row that read one tensor share them.

    Only results of other layers are shared: what a user made may change without torch counting it.
    """
    rows = input.detach().reshape(-1, input.shape[-1])
    if input.dtype == torch.bfloat16 or input.grad_fn is None:
        return rows.bfloat16()
    for source, version, copy in _seen_last:
        held = copy()
        if source() is input and version == input._version and held is not None:
            return held
    half = rows.bfloat16()
    _seen_last[:] = [(weakref.ref(input), input._version, weakref.ref(half))]
    return half


class _HalfProduct(torch.autograd.Function):
    """What autocast does with a linear layer, without a copy of the weight that is kept."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, half: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(half, weight)
        ctx.dtype = rows.dtype
        return F.linear(half, weight.bfloat16(), None if bias is None else bias.bfloat16())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        wants_rows, _, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            (gradient @ weight.bfloat16()).to(ctx.dtype) if wants_rows else None,
            None,
            (gradient.t() @ rows).float() if wants_weight else None,
            gradient.sum(dim=0).float() if wants_bias else None,
        )


def key_mask(lengths: Tensor, frames: int) -> Tensor | None:
    """Give a mask (B, 1, 1, T), True where a key may be seen; None when nothing is padded."""
    keep = torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]
    return None if bool(keep.all()) else keep[:, None, None, :]


def set_activation_dropout(model: nn.Module, share: float | None) -> None:
    """Set the dropout within the feed-forward layers, in training; the configuration stays.

    Args:
        model: an encoder.
        share: of the activations; as it is if none.
    """
    if share is None:
        return
    for name, module in model.named_modules():
        if name.endswith("intermediate_dropout") and isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "activation_dropout", None), float):
            module.activation_dropout = share  # of Whisper's layers
