"""ContentVec's own file and LoRA on a grouped convolution are each one clear message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint
from speechft.training.adapters import add_adapters


@pytest.mark.parametrize("name", ["encoder.cond_layer_norm.weight", "encoder.spk_proj.weight"])
def test_content_vec_is_recognised(tmp_path: Path, tiny_config: dict[str, Any], name: str) -> None:
    folder = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    write_checkpoint(read_checkpoint(folder), tmp_path / "own.pt", "fairseq")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    content["model"][name] = torch.zeros(4, 4)
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match="ContentVec's own file; its file named legacy"):
        load_encoder(tmp_path / "own.pt")


def test_an_adapter_of_a_grouped_convolution(tmp_path: Path, tiny_config: dict[str, Any]) -> None:
    encoder = build_encoder(tiny_config, seed=0)
    with pytest.raises(SettingsError, match=r"no layer to adapt for conv[\s\S]*attention"):
        add_adapters(encoder, "lora", targets=("conv",))
    base = encoder.save(tmp_path / "base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    said = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": 2, "lora_alpha": 4}
    named = {**said, "target_modules": ["encoder.pos_conv_embed.conv"]}
    (adapter / "adapter_config.json").write_text(json.dumps(named))
    stem = "base_model.model.encoder.pos_conv_embed.conv"
    width, kernel, groups = 32, 16, 4
    parts = {
        f"{stem}.lora_A.weight": torch.ones(2, width // groups, kernel),
        f"{stem}.lora_B.weight": torch.ones(width, 2, 1),
    }
    save_file(parts, adapter / "adapter_model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_encoder(adapter)
    assert "groups=4 and rank 2" in str(caught.value.found)
