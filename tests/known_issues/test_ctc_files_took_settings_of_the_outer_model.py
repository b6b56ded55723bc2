"""A fairseq file fine-tuned with CTC took the settings of the model around the encoder.

They hold no sizes: a large encoder became one with post-norm layers, fairseq's default.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from speechft.encoders import build_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import load_encoder, read_checkpoint

LARGE = {
    "model_type": "hubert", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "conv_dim": [32] * 7, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4, "do_stable_layer_norm": True, "feat_extract_norm": "layer",
    "conv_bias": True,
}  # fmt: skip


def test_sizes_come_from_shapes_or_from_base(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = build_encoder(LARGE, seed=0)
    folder = encoder.save(tmp_path / "large")
    write_checkpoint(read_checkpoint(folder), tmp_path / "whole.pt", "fairseq")
    content = torch.load(tmp_path / "whole.pt", weights_only=True)
    stem = "w2v_encoder.w2v_model."
    outer = {"_name": "hubert_ctc", "w2v_path": "/home/x/large.pt", "normalize": True}
    content["cfg"] = {"model": {**outer, "dropout": 0.0, "w2v_args": None}, "task": {}}
    content["model"] = {f"{stem}{name}": tensor for name, tensor in content["model"].items()}
    torch.save(content, tmp_path / "ctc.pt")
    with caplog.at_level(logging.WARNING):
        found = load_encoder(tmp_path / "ctc.pt")
    assert found.config.do_stable_layer_norm
    assert found.preprocessor["do_normalize"]
    assert "sizes are inferred from shapes" in caplog.text
    waveform = [torch.randn(4000)]
    for one in (found, load_encoder(tmp_path / "ctc.pt", base=folder)):
        states = one(waveform).hidden_states
        for ours, wanted in zip(states, encoder(waveform).hidden_states, strict=True):
            torch.testing.assert_close(ours, wanted, rtol=0, atol=2e-3)
