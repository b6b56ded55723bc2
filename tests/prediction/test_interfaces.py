"""An encoder as S3PRL, X-ARES, XARES-LLM and MTEB call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch

from speechft.encoders import build_encoder
from speechft.prediction.interfaces import (
    MTEBEncoder,
    S3PRLUpstream,
    XaresEncoder,
    XaresLLMEncoder,
)

CONFIG = {
    "model_type": "hubert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WAVES = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in (8000, 16000)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_encoder(CONFIG, seed=0).save(tmp_path_factory.mktemp("encoder"))


def test_s3prl(folder: Path) -> None:
    upstream = S3PRLUpstream(folder, "cpu").eval()
    given = upstream(WAVES)
    states, _ = upstream.encoder(WAVES)
    assert upstream.get_downsample_rates("hidden_states") == 320
    assert len(given["hidden_states"]) == 3
    assert all(map(torch.equal, given["hidden_states"], states))


def test_xares(folder: Path) -> None:
    encoder = XaresEncoder(folder, "cpu")
    audio = torch.stack([WAVES[1], WAVES[1]])
    states = encoder(audio)
    assert states.shape == (2, 49, encoder.output_dim)
    assert (encoder.sampling_rate, encoder.hop_size_in_ms) == (16000, 20.0)
    assert type(encoder).__name__.endswith("Encoder")  # its checker asks for that


def test_xares_llm(folder: Path) -> None:
    encoder = XaresLLMEncoder(folder, "cpu").eval()
    audio = torch.nn.utils.rnn.pad_sequence(WAVES, batch_first=True)
    mask = torch.tensor([[1] * 8000 + [0] * 8000, [1] * 16000])
    states, valid = encoder(audio, mask)
    assert valid.shape == states.shape[:2]
    assert valid.sum(1).tolist() == [24, 49]
    alone = encoder.encoder([WAVES[0]]).hidden_states[-1][0]
    torch.testing.assert_close(states[0, :24], alone, atol=1e-4, rtol=0)


def batches(rate: int = 16000) -> list[dict[str, Any]]:
    def one(wave: torch.Tensor) -> dict[str, Any]:
        array = wave.numpy() if rate == 16000 else soxr.resample(wave.numpy(), 16000, rate)
        return {"array": array, "sampling_rate": rate}

    return [{"audio": [one(WAVES[0])]}, {"audio": [one(WAVES[1]), one(WAVES[0])]}]


def test_mteb(folder: Path) -> None:
    encoder = MTEBEncoder(folder, "cpu")
    given = encoder.encode(batches(), task_metadata=None, hf_split="test", hf_subset="default")
    alone = encoder.encoder([WAVES[0]]).hidden_states[-1].mean(1)[0].detach().numpy()
    assert given.shape == (3, 32)
    np.testing.assert_allclose(given[0], alone, atol=1e-4)
    np.testing.assert_allclose(given[2], given[0], atol=1e-4)
    cosines = encoder.similarity(given, given)
    assert cosines.diagonal().tolist() == pytest.approx([1.0] * 3)
    assert encoder.similarity_pairwise(given, given[::-1])[1] == pytest.approx(1.0)


def test_mteb_hears_another_rate_and_cuts(folder: Path) -> None:
    encoder = MTEBEncoder(folder, "cpu", layer=0, max_seconds=0.4)
    (one, *_), (other, *_) = encoder.encode(batches(8000)), encoder.encode(batches())
    assert np.corrcoef(one, other)[0, 1] > 0.8
    short = encoder.encoder([WAVES[0][:6400]]).hidden_states[0].mean(1)[0].detach().numpy()
    np.testing.assert_allclose(other, short, atol=1e-4)
