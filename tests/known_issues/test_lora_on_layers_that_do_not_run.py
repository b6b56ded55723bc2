"""LoRA covered "22 of 22" layers of a w2v-BERT, 6 of them in an adapter that takes no part.

The adapter behind the last layer (`add_adapter`) shortens sequences for heads of transformers'.
"""

from __future__ import annotations

import torch
from transformers import Wav2Vec2BertConfig

from speechft.encoders import build_encoder
from speechft.training.adapters import add_adapters


def test_every_adapted_layer_gets_a_gradient() -> None:
    config = Wav2Vec2BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        feature_projection_input_dim=160, add_adapter=True, output_hidden_size=32,
    )  # fmt: skip
    encoder = build_encoder(config, seed=0)
    coverage = add_adapters(encoder, "lora", rank=2)
    assert coverage.linear == len(coverage.adapted) == 16
    assert not any(name.startswith("adapter.") for name in encoder.encoder_parameters())
    encoder([torch.randn(8000)]).hidden_states[-1].square().mean().backward()
    added = {n: p for n, p in encoder.model.named_parameters() if "lora_B" in n}
    assert len(added) == 16
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in added.values())
