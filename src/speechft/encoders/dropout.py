"""Dropout on a CPU, drawn in a fraction of the time.

torch draws one number of a generator that knows no parallel work for every element, which takes a
fifth of an update at Base size. Here a draw of 64 bits serves four elements: the share that is
dropped is right to 1 / 65536, and what is kept is scaled by that very share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from speechft.encoders.layers import is_traced

_STEPS: Final = 2**16


class FastDropout(nn.Dropout):
    """`nn.Dropout`; other elements are drawn than by torch."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape, in training."""
        if (
            not self.training
            or not 0 < self.p < 1
            or self.inplace
            or input.device.type != "cpu"
            or is_traced()
        ):
            return super().forward(input)
        output: Tensor = _Dropout.apply(input, self.p)  # type: ignore[no-untyped-call]
        return output


def use_fast_dropout(model: nn.Module) -> None:
    """Turn the plain dropout of a model into fast one, in place."""
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = FastDropout


def draw_kept(shape: Sequence[int], dropout: float, device: torch.device | str = "cpu") -> Tensor:
    """Draw which elements of a shape are kept: True with a chance of 1 − dropout to 1 / 65536."""
    size = torch.Size(shape).numel()
    drawn = torch.empty(-(-size // 4), dtype=torch.int64, device=device).random_(-(2**63), None)
    return (drawn.view(torch.int16)[:size] >= _least(dropout)).view(shape)


def scale_of(dropout: float) -> float:
    """Give what kept elements are multiplied with, so that the mean stays."""
    return _STEPS / (_STEPS // 2 - _least(dropout))


def _least(dropout: float) -> int:
    """Give the least number of 16 bits whose element is kept; one step at least is kept."""
    return min(round(dropout * _STEPS), _STEPS - 1) - _STEPS // 2


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, dropout: float) -> Tensor:
        kept = draw_kept(input.shape, dropout, input.device)
        ctx.save_for_backward(kept)
        ctx.scale = scale_of(dropout)
        return (input * kept).mul_(ctx.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return (gradient * kept).mul_(ctx.scale), None
