"""What an encoder is called with: waveforms, and things that only look like them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechft.core.errors import DataError, SettingsError
from speechft.encoders import load_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint

HUBERT = Path(__file__).parent.parent / "fixtures" / "parity" / "hubert-tiny.pt"
WAVE = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(HUBERT)


def test_every_way_to_give_a_waveform_is_the_same(encoder):
    with torch.inference_mode():
        wanted = encoder([WAVE]).hidden_states[-1]
        for given in (WAVE, WAVE[None], [WAVE.numpy()], [WAVE.double()], WAVE[None].numpy()):
            assert torch.equal(encoder(given).hidden_states[-1], wanted)


@pytest.mark.parametrize(
    "given",
    [
        [torch.zeros(2, 1000)],
        torch.zeros(1, 1, 1000),
        [torch.ones(1000, dtype=torch.int16)],
        [np.zeros((1000, 2), dtype=np.float32)],
        [WAVE, torch.tensor(1.0)],
        ["speech.wav"],
        "speech.wav",
        [WAVE, None],
        None,
        {"a": WAVE},
        [[0.1, "b"]],
    ],
    ids=[
        "stereo",
        "channels",
        "16-bit",
        "numpy stereo",
        "number",
        "paths",
        "path",
        "none in it",
        "none",
        "mapping",
        "mixed",
    ],
)
def test_what_is_no_waveform_is_said(encoder, given):
    with pytest.raises(DataError, match=r"no waveform[\s\S]*expected"):
        encoder(given)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_with_the_utterance(encoder, value):
    bad = WAVE.clone()
    bad[100:103] = value
    with pytest.raises(DataError, match=r"not finite[\s\S]*utterance 1 [\s\S]*3 of 4000") as caught:
        encoder([WAVE, bad])
    assert "more" not in str(caught.value)
    with pytest.raises(DataError, match=r"utterance 0 [\s\S]*1 more utterances"):
        encoder(torch.stack([bad, bad]))
    with torch.inference_mode():
        encoder(iter([WAVE]))  # whatever can be gone through will do


@pytest.mark.parametrize("lengths", [[1001], [1000, 1000], [[1000]], [0], [399]])
def test_lengths_that_do_not_fit(encoder, lengths):
    with pytest.raises(DataError, match=r"lengths do not fit|too short"):
        encoder(torch.zeros(1, 1000), torch.tensor(lengths))


@pytest.mark.parametrize("given", [[], torch.zeros(0), [torch.zeros(0)], [torch.zeros(100)]])
def test_nothing_and_too_little(encoder, given):
    with pytest.raises(DataError, match=r"no utterance|too short"):
        encoder(given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_half_precision_is_a_matter_of_autocast(dtype):
    with pytest.raises(SettingsError, match=r"not kept in this type[\s\S]*autocast"):
        load_encoder(HUBERT, dtype=dtype)
    assert load_encoder(HUBERT, dtype=torch.float64).model.masked_spec_embed.dtype == torch.float64


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    content = torch.load(HUBERT, weights_only=True)
    weights = content["model_weight"]
    weights["encoder.layers.1.fc1.weight"] = weights["encoder.layers.0.fc1.weight"]
    flat = torch.cat([weights[f"encoder.layers.{n}.fc1.bias"] for n in range(3)])
    for n in range(3):
        weights[f"encoder.layers.{n}.fc1.bias"] = flat[96 * n : 96 * (n + 1)]
    torch.save(content, tmp_path / "shared.pt")
    found = read_checkpoint(tmp_path / "shared.pt")
    write_checkpoint(found, tmp_path / "hf", "hf")
    written = load_file(tmp_path / "hf" / "model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in found.tensors.items())
