"""A family is one file: loading, converting, inspecting and merging know it from there."""

from __future__ import annotations

import json

from one_new_file import package_with, run_commands

TOY = '''"""Toy: 20 ms of samples are a frame, and a transformer follows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel, Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2Encoder

from speechft.encoders.base import EncoderOutput
from speechft.encoders.convolutional import TransformerEncoder
from speechft.encoders.fairseq_layout import FairseqLayout
from speechft.encoders.family import Family, register

FRAME = 320


class ToyConfig(Wav2Vec2Config):
    model_type = "toy"


class ToyModel(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "toy"
    _supports_sdpa = True

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.post_extract_proj = nn.Linear(FRAME, config.hidden_size)
        self.encoder = Wav2Vec2Encoder(config)
        self.post_init()


class ToyEncoder(TransformerEncoder):
    style = "a toy"
    front_end_input = "samples"
    projection_prefixes = ("post_extract_proj.",)
    hop = FRAME

    @staticmethod
    def fits(model: nn.Module) -> bool:
        return isinstance(model, ToyModel)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        return lengths // FRAME

    def front_end(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return waveforms.unfold(-1, FRAME, FRAME), self.frame_lengths(lengths)

    def from_front_end(
        self, features: Tensor, frame_lengths: Tensor, *, mask_time: Tensor | None = None
    ) -> EncoderOutput:
        return self.transform(self.model.post_extract_proj(features), frame_lengths, mask_time)


class ToyLayout(FairseqLayout):
    kind = "toy"
    extras: ClassVar[re.Pattern[str]] = re.compile("head")

    def evidence(self, weights: Mapping[str, Tensor], said: str) -> int:
        return 5 if weights["post_extract_proj.weight"].shape[1] == FRAME else 0


AutoConfig.register("toy", ToyConfig, exist_ok=True)
AutoModel.register(ToyConfig, ToyModel, exist_ok=True)
register(Family("toy", ToyEncoder, fairseq=ToyLayout()))
'''

BUILD = """
import sys
from speechft.encoders import build_encoder
config = {"model_type": "toy", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 32, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
for seed, folder in enumerate(sys.argv[1:]):
    build_encoder(config, seed).save(folder)
"""
ENCODE = """
import sys, torch
from speechft.encoders import load_encoder
first, second = (load_encoder(path) for path in sys.argv[1:])
waves = [torch.linspace(-1, 1, n) for n in (3200, 1600)]
states = [e(waves).hidden_states for e in (first, second)]
assert first.fingerprint() == second.fingerprint()
assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
alone = first(waves[1:]).hidden_states
assert all(torch.allclose(a[0], b[1, :5], atol=1e-5) for a, b in zip(alone, states[0]))
print(type(first).__name__, len(states[0]), tuple(states[0][0].shape))
"""


def test_a_family_is_added_by_one_file(tmp_path):
    package = package_with(tmp_path / "package", "encoders/families/toy.py", TOY)
    one, other, merged = (tmp_path / name for name in ("one", "other", "merged"))
    toy = tmp_path / "toy.pt"
    _, _, _, first, _, second, encoded = run_commands(
        package,
        ("-c", BUILD, one, other),
        ("convert", one, toy, "--to", "s3prl"),
        ("convert", toy, tmp_path / "back", "--to", "hf"),
        ("inspect", toy, "--json"),
        ("merge", one, other, "--alpha", "0.5", "--out", merged),
        ("inspect", merged, "--json"),
        ("-c", ENCODE, one, tmp_path / "back"),
    )
    assert encoded.split()[0] == "ToyEncoder"
    found = json.loads(first)
    assert (found["family"], found["style"], found["input"]) == ("toy", "a toy", "samples")
    assert found["groups"][0]["name"] == "projection"
    found = json.loads(second)
    assert (found["family"], found["not_finite"]) == ("toy", [])
