"""Configurations of HuBERT, as small as tests of different things allow."""

from __future__ import annotations

from typing import Any, Final

TWO_LAYERS: Final[dict[str, Any]] = {
    "model_type": "hubert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
ONE_LAYER: Final[dict[str, Any]] = {
    **TWO_LAYERS,
    "num_hidden_layers": 1,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 8,
}
SHORT_FRONT_END: Final[dict[str, Any]] = {
    **{name: value for name, value in TWO_LAYERS.items() if name != "model_type"},
    "intermediate_size": 24,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 8,
    "layerdrop": 0.0,
}
"""For transformers' own classes: two convolutions, of whatever family."""
