"""Attention that is trained on a CPU in bfloat16, by matrix products.

torch's fused kernel leaves most of a processor's speed unused there, backwards above all: at Base
size and 6 s its forward and backward pass together take twice as long as the products and the
softmax by themselves. Scores and softmax are in float32, as in the fused kernel, and are computed
once more on the way back, since kept they would be a fifth of what a pass at Base size keeps. One
utterance follows the other, so that its scores stay in the processor's cache.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from speechft.core.devices import has_matrix_units
from speechft.encoders.dropout import draw_kept, scale_of
from speechft.encoders.layers import is_traced

NAME: Final = "speechft"
"""What transformers knows this attention by, while a model is in memory; no file names it."""
_MOST_FRAMES: Final = 512
"""Of longer utterances the scores leave the cache; there torch's kernel is as fast."""
_FUSED: Final = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
"""torch's fused kernel, whose way forward is the faster one on processors with matrix units."""
_MOST_FRAMES_AMX: Final = 384
"""The same for processors with matrix units (AMX), on which torch's kernel is faster."""


def use_fast_attention(model: nn.Module) -> None:
    """Let a transformers model compute attention here where that is faster, else as torch does."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config: Any = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    config._attn_implementation = NAME


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend as `sdpa_attention_forward` of transformers does: (B, H, T, d) → (B, T, H, d)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    here = _is_plain(query, key, value, attention_mask) and dropout < 1
    if not (here and _worth_it(module, query, key, attention_mask, others)):
        usual: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return usual
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    mixed: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, attention_mask, scale, dropout
    )
    return mixed.transpose(1, 2).contiguous(), None


def _worth_it(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, others: dict[str, Any]
) -> bool:
    causal = others.get("is_causal")
    return (
        query.device.type == "cpu"
        and query.dtype == key.dtype == torch.bfloat16
        and torch.is_grad_enabled()
        and query.requires_grad
        and query.shape[:2] == key.shape[:2]
        and key.shape[2] <= (_MOST_FRAMES_AMX if has_matrix_units() else _MOST_FRAMES)
        and (mask is None or (mask.dtype == torch.bool and mask.shape[1:3] == (1, 1)))
        and not (getattr(module, "is_causal", False) if causal is None else causal)
        and others.get("position_bias") is None
        and others.get("cache") is None
        and not is_traced()
    )


def _is_plain(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> bool:
    """Tell whether sizes and types are those that `_Attention` is written for."""
    of_keys = (len(key), 1, 1, key.shape[2])
    return (
        key.shape == value.shape
        and key.dtype == value.dtype
        and query.shape[3] == key.shape[3]
        and (mask is None or mask.shape == of_keys)
    )


class _Attention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ) V of (B, H, T, d), where keys (B, 1, 1, T) may be hidden."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        seen: Tensor | None,
        scale: float,
        dropout: float,
    ) -> Tensor:
        ctx.scale, ctx.dropout = scale, dropout
        lies_well = all(t.stride(-1) == 1 for t in (query, key, value))  # or it reads elsewhere
        if has_matrix_units() and not dropout and _FUSED is not None and lies_well:
            hidden = None if seen is None else query.new_zeros(seen.shape).masked_fill_(~seen, -inf)
            fused: Tensor
            fused, sums = _FUSED(query, key, value, 0.0, False, attn_mask=hidden, scale=scale)
            ctx.save_for_backward(query, key, value, seen, None, sums)
            return fused
        mixed = torch.empty_like(query)
        kept = None
        if dropout:
            kept = draw_kept((*query.shape[:3], key.shape[2]), dropout, query.device)
        with torch.autocast("cpu", enabled=False):
            weights_of = _Weights(query, key, seen, scale)
            for item in range(len(query)):
                weights = _dropped(weights_of(item), _of(kept, item), dropout)
                torch.matmul(weights, value[item], out=mixed[item])
        ctx.save_for_backward(query, key, value, seen, kept, None)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, seen, kept, sums = ctx.saved_tensors
        of_query, of_key, of_value = (torch.empty_like(t) for t in (query, key, value))
        with torch.autocast("cpu", enabled=False):
            weights_of = _Weights(query, key, seen, ctx.scale, sums)
            of_weights = torch.empty_like(weights_of.weights)
            for item in range(len(query)):
                weights, drawn = weights_of(item), _of(kept, item)
                dropped = _dropped(weights, drawn, ctx.dropout)
                torch.matmul(dropped.mT, gradient[item], out=of_value[item])
                torch.matmul(gradient[item], value[item].mT, out=of_weights)
                through = _dropped(of_weights, drawn, ctx.dropout)
                torch.ops.aten._softmax_backward_data.out(
                    through, weights, -1, weights.dtype, grad_input=of_weights
                )
                torch.matmul(of_weights, key[item], out=of_query[item])
                torch.matmul(of_weights.mT, query[item], out=of_key[item])
        return of_query.mul_(ctx.scale), of_key.mul_(ctx.scale), of_value, None, None, None


class _Weights:
    """Gives the softmax of an utterance's scores, in one place in memory for all of a batch.

    Args:
        query, key: (B, H, T, d).
        seen: (B, 1, 1, T), False where a key is hidden.
        scale: of the scores.
        sums: logarithm of the sum of a row's exponentials (B, H, T), where that is known.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        seen: Tensor | None,
        scale: float,
        sums: Tensor | None = None,
    ) -> None:
        self.query, self.key, self.seen = query.float().mul_(scale), key.float(), seen
        self.sums = sums
        self.scores = self.query.new_empty(*query.shape[1:3], key.shape[2])
        self.exact = torch.empty_like(self.scores) if sums is None else self.scores
        self.weights = torch.empty_like(self.scores, dtype=query.dtype)

    def __call__(self, item: int) -> Tensor:
        """Give weights (H, T, T) in bfloat16, computed in float32; good until the next call."""
        torch.matmul(self.query[item], self.key[item].mT, out=self.scores)
        if self.seen is not None:
            self.scores.masked_fill_(~self.seen[item], torch.finfo(torch.float32).min)
        if self.sums is None:
            torch.ops.aten._softmax.out(self.scores, -1, False, out=self.exact)
        else:
            self.scores.sub_(self.sums[item, ..., None]).exp_()
        return self.weights.copy_(self.exact)


def _of(tensor: Tensor | None, item: int) -> Tensor | None:
    return None if tensor is None else tensor[item]


def _dropped(weights: Tensor, kept: Tensor | None, dropout: float) -> Tensor:
    return weights if kept is None else (weights * kept).mul_(scale_of(dropout))
