"""torchaudio's `hubert_fairseq_base_ls960.pth` was a file with transformers' names and no settings.

It is a state dict under names of its own: sizes follow from shapes, as for fairseq's files.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from speechft import load_encoder
from speechft.encoders.identity import locate
from speechft.encoders.load import read_checkpoint

WEIGHT_NORM = "parametrizations.weight.original"


def torchaudio_name(name: str) -> str:
    if name == "masked_spec_embed":
        return "mask_generator.mask_embedding"
    name = name.replace(f"{WEIGHT_NORM}0", "weight_g").replace(f"{WEIGHT_NORM}1", "weight_v")
    if name.startswith("feature_projection."):
        return f"encoder.{name}"
    return f"encoder.transformer.{name[8:]}" if name.startswith("encoder.") else name


@pytest.mark.parametrize("stem", ["", "wav2vec2."])
@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_they_are_read(tmp_path: Path, family: str, stem: str) -> None:
    source = locate(f"tiny-{family}")
    tensors = load_file(source / "model.safetensors")
    if not stem:  # as they are published, without what only pre-training needs
        del tensors["masked_spec_embed"]
    weights = {stem + torchaudio_name(n): t for n, t in tensors.items()}
    if stem:
        weights["mask_generator.mask_embedding"] = weights.pop(
            stem + "mask_generator.mask_embedding"
        )
    path = tmp_path / f"{family}_fairseq_base_ls960.pth"
    torch.save({**weights, "aux.weight": torch.zeros(2, 2), "aux.bias": torch.zeros(2)}, path)
    found = read_checkpoint(path)
    assert (found.format, found.family) == ("torchaudio", family)
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in tensors.items())
    states = load_encoder(path)([torch.randn(8000)]).hidden_states
    assert states[-1].isfinite().all()
