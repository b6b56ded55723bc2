"""WavLM's attention: a gated relative position bias, on the fused attention kernel."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def wavlm_position_bias(attention: Any, frames: int) -> Tensor:
    """Give the relative position bias (H, T, T) of the first layer's attention.

    It depends on the distance alone, so 2 T − 1 embeddings are looked up, not T².
    """
    device = attention.rel_attn_embed.weight.device
    distances = torch.arange(1 - frames, frames, device=device)
    buckets = attention._relative_positions_bucket(distances)
    values: Tensor = attention.rel_attn_embed(buckets).T
    return values.unfold(-1, frames, 1).flip(1).contiguous()


def wavlm_attention(
    attention: Any, hidden: Tensor, position_bias: Tensor, keep: Tensor | None
) -> Tensor:
    """Apply WavLM's self-attention.

    Args:
        attention: a transformers `WavLMAttention`, for its weights.
        hidden: input (B, T, D).
        position_bias: (H, T, T).
        keep: key mask (B, 1, 1, T), or None when nothing is padded.

    Source: Chen et al. 2022, "WavLM", section III-B.
    """
    batch, frames, _ = hidden.shape
    heads = attention.num_heads
    split = (batch, frames, heads, attention.head_dim)
    by_head = hidden.view(split).transpose(1, 2)
    gates = attention.gru_rel_pos_linear(by_head).view(batch, heads, frames, 2, 4).sum(-1)
    gate_a, gate_b = torch.sigmoid(gates.float()).unbind(-1)
    gate = gate_a * (gate_b * attention.gru_rel_pos_const[..., 0] - 1.0) + 2.0
    bias = gate[..., None] * position_bias.float()
    if keep is not None:
        bias = bias.masked_fill_(~keep, float("-inf"))
    query, key, value = (
        projection(hidden).view(split).transpose(1, 2)
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mixed = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=bias.to(query.dtype),
        dropout_p=attention.dropout if attention.training else 0.0,
    )
    output: Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(batch, frames, -1))
    return output


def wavlm_layer(
    layer: Any, hidden: Tensor, position_bias: Tensor, keep: Tensor | None, pre_norm: bool
) -> Tensor:
    """Apply one WavLM layer (B, T, D) → (B, T, D), in the pre-norm or the post-norm order."""
    source = layer.layer_norm(hidden) if pre_norm else hidden
    mixed = wavlm_attention(layer.attention, source, position_bias, keep)
    hidden = hidden + layer.dropout(mixed)
    if pre_norm:
        output: Tensor = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
        return output
    hidden = layer.layer_norm(hidden)
    output = layer.final_layer_norm(hidden + layer.feed_forward(hidden))
    return output
