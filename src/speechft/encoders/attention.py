"""Attention that is trained on a CPU in bfloat16, by matrix products.

torch's fused kernel leaves most of a processor's speed unused there, backwards above all: at Base
size and 6 s its forward and backward pass together take twice as long as the products and the
softmax by themselves. Scores and softmax are in float32, as in the fused kernel, and are computed
once more on the way back, since kept they would be a fifth of what a pass at Base size keeps. One
utterance follows the other, so that its scores stay in the processor's cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NAME: Final = "speechft"
"""What transformers knows this attention by, while a model is in memory; no file names it."""
_MOST_FRAMES: Final = 512
"""Of longer utterances the scores leave the cache; there torch's kernel is as fast."""
_MOST_FRAMES_AMX: Final = 384
"""The same for processors with matrix units (AMX), on which torch's kernel is faster."""


@cache
def _most_frames() -> int:
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return _MOST_FRAMES_AMX if known.get("amx_bf16") else _MOST_FRAMES


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

    if not _worth_it(module, query, key, attention_mask, others):
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
        and key.shape[2] <= _most_frames()
        and (mask is None or (mask.dtype == torch.bool and mask.shape[1:3] == (1, 1)))
        and not (getattr(module, "is_causal", False) if causal is None else causal)
        and others.get("position_bias") is None
        and others.get("cache") is None
        and not torch.compiler.is_compiling()
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
        mixed = torch.empty_like(value)
        kept = None
        if dropout:  # drawn exactly: a uniform number in bfloat16 has 256 values
            shape = (*query.shape[:3], key.shape[2])
            kept = query.new_empty(shape, dtype=torch.bool).bernoulli_(1 - dropout)
        with torch.autocast("cpu", enabled=False):
            for item in range(len(query)):
                weights = _weights(query[item], key[item], _of(seen, item), scale)
                mixed[item] = _dropped(weights, _of(kept, item), dropout) @ value[item]
        ctx.save_for_backward(query, key, value, seen, kept)
        ctx.scale, ctx.dropout = scale, dropout
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, seen, kept = ctx.saved_tensors
        of_query, of_key, of_value = map(torch.empty_like, (query, key, value))
        with torch.autocast("cpu", enabled=False):
            for item in range(len(query)):
                weights = _weights(query[item], key[item], _of(seen, item), ctx.scale)
                drawn = _of(kept, item)
                of_value[item] = _dropped(weights, drawn, ctx.dropout).mT @ gradient[item]
                of_weights = _dropped(gradient[item] @ value[item].mT, drawn, ctx.dropout)
                of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                of_query[item] = (of_scores @ key[item]).mul_(ctx.scale)
                of_key[item] = (of_scores.mT @ query[item]).mul_(ctx.scale)
        return of_query, of_key, of_value, None, None, None


def _weights(query: Tensor, key: Tensor, seen: Tensor | None, scale: float) -> Tensor:
    """Give the softmax (H, T, T) of one utterance's scores in bfloat16, computed in float32."""
    scores = torch.matmul(query.float().mul_(scale), key.float().mT)
    if seen is not None:
        scores.masked_fill_(~seen, float("-inf"))
    return torch.softmax(scores, dim=-1).to(query.dtype)


def _of(tensor: Tensor | None, item: int) -> Tensor | None:
    return None if tensor is None else tensor[item]


def _dropped(weights: Tensor, kept: Tensor | None, dropout: float) -> Tensor:
    return weights if kept is None else weights * kept * (1 / (1 - dropout))
