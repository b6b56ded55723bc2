"""data2vec's fairseq files; the layout is that of fairseq's `examples/data2vec`."""

from __future__ import annotations

import re

import pytest
import torch

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint


def data2vec_file(encoder, path, *, teacher=True, prefix=""):
    """Write an encoder as fairseq does: names, settings, and the teacher beside the weights."""
    names = {
        "masked_spec_embed": "mask_emb",
        "feature_projection.layer_norm": "layer_norm",
        "feature_projection.projection": "post_extract_proj",
        ".attention.": ".self_attn.",
        "feed_forward.intermediate_dense": "fc1",
        "feed_forward.output_dense": "fc2",
    }
    weights = {}
    for name, tensor in encoder.model.state_dict().items():
        name = re.sub(r"(conv_layers\.\d)\.conv\.", r"\1.0.", name)
        name = re.sub(r"(conv_layers\.\d)\.layer_norm\.", r"\1.2.1.", name)
        name = re.sub(r"pos_conv_embed\.layers\.(\d)\.conv", r"pos_conv.\1.0", name)
        name = re.sub(r"(layers\.\d)\.layer_norm", r"\1.self_attn_layer_norm", name)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        weights[prefix + name] = tensor
    weights[f"{prefix}final_proj.weight"] = torch.randn(48, 48)
    weights[f"{prefix}final_proj.bias"] = torch.randn(48)
    if teacher:
        weights[f"{prefix}_ema"] = {"layers.0.fc1.weight": torch.randn(96, 48)}
    model = {
        "_name": "data2vec_audio",
        **{"extractor_mode": "layer_norm", "encoder_layers": 3, "encoder_embed_dim": 48},
        **{"encoder_ffn_embed_dim": 96, "encoder_attention_heads": 4, "conv_pos": 57},
        **{"pos_conv_depth": 3, "conv_pos_groups": 4, "average_top_k_layers": 8},
        "conv_feature_layers": "[(32,10,5)] + [(32,3,2)] * 4 + [(32,2,2)] * 2",
    }
    settings = {"model": model, "task": {"normalize": True, "sample_rate": 16000}}
    torch.save({"cfg": settings, "args": None, "model": weights}, path)
    return weights


@pytest.mark.parametrize("teacher", [True, False])
def test_fairseq_originals_of_data2vec(tmp_path, tiny_config, teacher):
    encoder = build_encoder(tiny_config("data2vec-audio"), seed=3)
    weights = data2vec_file(encoder, tmp_path / "audio_base_ls.pt", teacher=teacher)
    found = load_encoder(tmp_path / "audio_base_ls.pt")
    assert found.fingerprint() == encoder.fingerprint()
    assert found.config.conv_pos_kernel_size == 19
    assert found.preprocessor["do_normalize"]
    for to, key in (("fairseq", "model"), ("s3prl", "model_weight")):
        write_checkpoint(read_checkpoint(tmp_path / "audio_base_ls.pt"), tmp_path / "b.pt", to)
        back = torch.load(tmp_path / "b.pt", weights_only=True)
        assert back[key].keys() == {*weights, "_ema"}
        assert torch.equal(back[key]["final_proj.bias"], weights["final_proj.bias"])
        kept, given = back[key]["_ema"], weights.get("_ema", {})
        assert kept.keys() == given.keys()
        assert all(torch.equal(kept[n], t) for n, t in given.items())
        assert load_encoder(tmp_path / "b.pt").fingerprint() == encoder.fingerprint()
    assert back["model_cfg"]["conv_pos"] == 57


def test_data2vec_after_hugging_face_and_fine_tuned(tmp_path, tiny_config):
    encoder = build_encoder(tiny_config("data2vec-audio"), seed=3)
    encoder.save(tmp_path / "hf")
    for to in ("s3prl", "fairseq"):
        write_checkpoint(read_checkpoint(tmp_path / "hf"), tmp_path / f"{to}.pt", to)
        assert load_encoder(tmp_path / f"{to}.pt").fingerprint() == encoder.fingerprint()
    weights = data2vec_file(encoder, tmp_path / "a.pt", prefix="w2v_encoder.w2v_model.")
    torch.save({"state_dict": {**weights, "head.weight": torch.ones(2)}}, tmp_path / "s.ckpt")
    found = read_checkpoint(tmp_path / "s.ckpt", base=tmp_path / "hf")
    assert found.family == "data2vec-audio"
    assert "head.weight" in found.dropped


def test_variants_of_data2vec_that_transformers_lacks_are_refused(tmp_path, tiny_config):
    encoder = build_encoder(tiny_config("data2vec-audio"), seed=3)
    data2vec_file(encoder, tmp_path / "a.pt")
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    for name, value in (("layer_norm_first", True), ("extractor_mode", "default")):
        model = {**content["cfg"]["model"], name: value}
        torch.save({**content, "cfg": {**content["cfg"], "model": model}}, tmp_path / "b.pt")
        with pytest.raises(CheckpointError, match=rf"not supported[\s\S]*{name}"):
            load_encoder(tmp_path / "b.pt")
    torch.save({"model": {"modality_encoders.AUDIO.x.weight": torch.ones(2)}}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=r"data2vec 2\.0"):
        load_encoder(tmp_path / "c.pt")
