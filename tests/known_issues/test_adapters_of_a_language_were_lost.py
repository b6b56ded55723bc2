"""MMS has adapters for each language; those in the weights were taken for any, without a word.

They are named, and another language's file is an ENCODER of its own.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from speechft import load_encoder, merge
from speechft.encoders.identity import encoder_id, locate

TENSOR = "encoder.layers.0.adapter_layer.linear_1.weight"


def test_they_are_named_or_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        do_stable_layer_norm=True, feat_extract_norm="layer", adapter_attn_dim=4, vocab_size=9,
    )  # fmt: skip
    model = Wav2Vec2ForCTC(config)
    folder = tmp_path / "mms"
    model.save_pretrained(folder)
    shutil.copy(locate("tiny-wav2vec2") / "preprocessor_config.json", folder)
    french = {name: torch.randn_like(tensor) for name, tensor in model._get_adapters().items()}
    chosen = folder / "adapter.fra.safetensors"
    save_file(french, chosen)

    with caplog.at_level(logging.WARNING):
        stored = load_encoder(folder).model.state_dict()[TENSOR]
    assert "(here: adapter.fra.safetensors)" in caplog.text
    assert torch.equal(stored, model.state_dict()[f"wav2vec2.{TENSOR}"])
    assert torch.equal(
        load_encoder(chosen).model.state_dict()[TENSOR], french[f"wav2vec2.{TENSOR}"]
    )
    assert encoder_id(str(chosen)) != encoder_id(str(folder))

    out = merge(base=str(folder), tuned=[str(chosen)], alpha=1, out=tmp_path / "out")
    assert torch.equal(load_encoder(out).model.state_dict()[TENSOR], french[f"wav2vec2.{TENSOR}"])
    before = encoder_id(str(chosen))
    torch.manual_seed(1)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    assert encoder_id(str(chosen)) != before
