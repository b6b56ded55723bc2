"""The plan on paper counts the parameters that the encoder has, and pieces add up to the whole."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))

from pages.plan import GPUS, LARGE, SECONDS, UTTERANCE, memory, update_flops


def test_the_encoder_has_so_many_parameters():
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    config = Wav2Vec2Config(
        hidden_size=LARGE.width,
        num_hidden_layers=LARGE.layers,
        num_attention_heads=16,
        intermediate_size=LARGE.inner,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        mask_time_prob=0.05,
    )
    with torch.device("meta"):
        model = Wav2Vec2Model(config)
    parts = {"feature_extractor.": 0, "encoder.layers.": 0, "": 0}
    for name, parameter in model.named_parameters():
        parts[next(part for part in parts if name.startswith(part))] += parameter.numel()
    assert list(parts.values()) == [LARGE.front_end, LARGE.layers * LARGE.layer, LARGE.rest]


def test_memory_and_operations_follow_from_them():
    weights, gradients, moments, copies, kept = memory(pieces=False, again=False)
    moving = LARGE.parameters - LARGE.front_end
    assert [weights, gradients, moments, copies] == pytest.approx(
        [4e-9 * LARGE.parameters, 4e-9 * moving, 8e-9 * moving, 2e-9 * moving]
    )
    pieces = memory(pieces=True, again=True)
    assert pieces[3] == copies  # autocast's are whole everywhere
    assert pieces[4] < kept / 7
    assert pieces[2] - moments / GPUS == pytest.approx(8e-9 * LARGE.rest * (1 - 1 / GPUS), rel=1e-6)
    behind = 6 * (moving * LARGE.rate) * SECONDS  # attention adds the square of the frames
    frames = UTTERANCE * LARGE.rate
    scores = SECONDS / UTTERANCE * 3 * 4 * frames**2 * LARGE.width * LARGE.layers
    front = 5e9 * SECONDS
    assert update_flops(again=False) == pytest.approx(behind + scores + front, rel=0.01)
