"""The bytes of `extras.safetensors` differed between two runs: its metadata stood in hash order."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from speechft.encoders import build_encoder
from speechft.encoders.checkpoint import Side
from speechft.encoders.formats.hf import read_side


def test_its_bytes_follow_from_its_content(tmp_path: Path, tiny_config: dict[str, object]) -> None:
    encoder = build_encoder(tiny_config, seed=0)
    side = Side({"final_proj.bias": torch.ones(3), "a": torch.zeros(2)}, {"units": [1, 2], "b": 3})
    encoder.side = side
    files = [encoder.save(tmp_path / str(n)) / "extras.safetensors" for n in range(12)]
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], framework="pt") as file:
        assert file.metadata() == {"source": json.dumps(side.source)}
    assert read_side(tmp_path / "0").source == side.source
