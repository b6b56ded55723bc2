"""Tiny encoders of every family, and the comparison that all parity tests use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}


def _configs() -> dict[str, dict[str, Any]]:
    configs: dict[str, dict[str, Any]] = {}
    for kind in ("hubert", "wav2vec2", "wavlm", "unispeech-sat", "unispeech"):
        configs[kind] = {"model_type": kind, **SIZES}
        configs[f"{kind}-large"] = {"model_type": kind, **SIZES, **LARGE}
    configs["hubert-batch-norm"] = {**configs["hubert"], "conv_pos_batch_norm": True}
    configs["hubert-biased-group-norm"] = {**configs["hubert"], "conv_bias": True}
    configs["data2vec-audio"] = {
        **SIZES,
        "model_type": "data2vec-audio",
        "num_conv_pos_embeddings": 3,
        "conv_pos_kernel_size": 19,
    }
    return configs


CONFIGS = _configs()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "config" in metafunc.fixturenames:
        metafunc.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def _offset(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.std())


@pytest.fixture
def offset() -> Callable[[Tensor, Tensor], float]:
    """The largest difference in units of the wanted tensor's standard deviation."""
    return _offset


@pytest.fixture
def tiny_config() -> Callable[[str], dict[str, Any]]:
    """Give the configuration of a tiny encoder by name."""
    return lambda name: dict(CONFIGS[name])


def _speech_like(samples: int, seed: int = 0, level: float = 0.1) -> Tensor:
    """Give coloured noise with a slow envelope and an offset: harder on statistics than white."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples, generator=generator)
    low = torch.nn.functional.avg_pool1d(noise[None], 9, 1, 4)[0]
    envelope = torch.linspace(0.05, 1.0, samples).roll(samples // 3)
    return level * (low * envelope) + 0.02


@pytest.fixture
def waveforms() -> list[Tensor]:
    """Unequal lengths down to a single frame, at unequal levels."""
    lengths = (16000, 12345, 7041, 400)
    return [_speech_like(n, i, 0.3 / (i + 1)) for i, n in enumerate(lengths)]


PARITY = Path(__file__).parent.parent / "fixtures" / "parity"


@dataclass(frozen=True)
class Reference:
    """An encoder file and what S3PRL 0.4.18 makes of three waveforms with it, fed alone."""

    path: Path
    waveforms: list[Tensor]
    hidden: list[Tensor]
    in_batch: Tensor


@pytest.fixture(params=sorted(p.stem for p in PARITY.glob("*.pt")))
def reference(request: pytest.FixtureRequest) -> Reference:
    """One of the seven reference encoders."""
    content = load_file(PARITY / f"{request.param}.safetensors")
    return Reference(
        PARITY / f"{request.param}.pt",
        [content[f"wav.{i}"] for i in range(3)],
        [content[f"hidden.{i}"] for i in range(3)],
        content["batch_hidden"],
    )


def _worst_offset(encoder: Any, reference: Reference) -> float:
    with torch.no_grad():
        padded = encoder(reference.waveforms)
        alone = [encoder([w]) for w in reference.waveforms]
    found = []
    for i, wanted in enumerate(reference.hidden):
        frames = wanted.shape[1]
        assert alone[i].lengths.tolist() == [frames]
        assert len(alone[i].hidden_states) == len(wanted)
        for layer, states in enumerate(wanted):
            found.append(_offset(alone[i].hidden_states[layer][0], states))
            found.append(_offset(padded.hidden_states[layer][i, :frames], states))
    return max(found)


@pytest.fixture
def worst_offset() -> Callable[[Any, Reference], float]:
    """How far an encoder is from the reference, alone and in a padded batch, over all layers."""
    return _worst_offset
