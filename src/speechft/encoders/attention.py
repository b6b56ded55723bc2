"""Attention that is trained on a CPU in bfloat16, by matrix products.

torch's fused kernel leaves most of a processor's speed unused there, backwards above all: at Base
size and 6 s its forward and backward pass together take twice as long as the products and the
softmax by themselves. Scores and softmax are in float32, as in the fused kernel; the weights are
kept in bfloat16 for the way back, so this is for utterances of which that is little.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NAME: Final = "speechft"
"""What transformers knows this attention by, while a model is in memory; no file names it."""
_MOST_FRAMES: Final = 512
"""Utterances up to here keep their weights, at most 1 kB per frame and head."""


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
        and key.shape[2] <= _MOST_FRAMES
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
        batch, heads, rows, _ = query.shape
        weights = query.new_empty(batch, heads, rows, key.shape[2])
        scores = query.new_empty(weights.shape[1:], dtype=torch.float32)
        with torch.autocast("cpu", enabled=False):
            for item in range(batch):  # whose scores stay in the processor's cache
                asked = query[item].float().mul_(scale)
                torch.matmul(asked, key[item].float().transpose(1, 2), out=scores)
                if seen is not None:
                    scores.masked_fill_(~seen[item], float("-inf"))
                weights[item] = torch.softmax(scores, dim=-1)
            del scores, asked  # or what is kept would lie above a hole of their size
            kept = None
            if dropout:  # drawn exactly: a uniform number in bfloat16 has 256 values
                kept = torch.empty_like(weights, dtype=torch.bool).bernoulli_(1 - dropout)
            mixed = _dropped(weights, kept, dropout) @ value
        ctx.save_for_backward(query, key, value, weights, kept)
        ctx.scale, ctx.dropout = scale, dropout
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, kept = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            of_value = _dropped(weights, kept, ctx.dropout).transpose(2, 3) @ gradient
            of_weights = _dropped(gradient @ value.transpose(2, 3), kept, ctx.dropout)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query = (of_scores @ key).mul_(ctx.scale)
            of_key = (of_scores.transpose(2, 3) @ query).mul_(ctx.scale)
        return of_query, of_key, of_value, None, None, None


def _dropped(weights: Tensor, kept: Tensor | None, dropout: float) -> Tensor:
    return weights if kept is None else weights * kept * (1 / (1 - dropout))
