"""Shared fixtures: encoders and speech small enough for unit tests."""

from __future__ import annotations

import pytest
import torch

TINY_CONFIG = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16, 16, 16, 16, 16, 16, 16],
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "group",
    "mask_time_prob": 0.05,
    "layerdrop": 0.0,
}


@pytest.fixture(autouse=True)
def _one_thread():
    """Two test processes share two cores."""
    torch.set_num_threads(1)


@pytest.fixture
def tiny_config():
    return dict(TINY_CONFIG)


@pytest.fixture
def tiny_encoder():
    from speechft.encoders import build_encoder

    return build_encoder(dict(TINY_CONFIG), seed=0)
