"""Layers that are computed again on the way back: the same result in less memory."""

import json

import pytest
import torch
from family_configs import FAMILIES, config_of
from finetune_fixture import moved, settings

from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune
from speechft.training.micro_batches import peak_bytes
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain


def gradients(family, checkpointing, seconds=1.0, **more):
    """Gradients of a loss over two utterances in training, and the most memory that took."""
    deep = {"num_hidden_layers": 8, "encoder_layers": 8}
    encoder = build_encoder({**config_of(family), **deep, **more}, seed=0).train()
    if checkpointing:
        encoder.recompute_layers()
    noise = torch.Generator().manual_seed(1)
    waves = [torch.randn(int(n * seconds), generator=noise) for n in (16000, 12000)]

    def step():
        torch.manual_seed(2)
        states = encoder(waves).hidden_states
        (states[-1].square().mean() + states[1].mean()).backward()

    peak = peak_bytes(step, torch.device("cpu"))
    return {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, peak


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_same_gradients_in_less_memory(family):
    """Dropout included: layers draw the same again."""
    plain, much = gradients(family, False)
    found, little = gradients(family, True)
    assert plain.keys() == found.keys()
    assert len(plain) > 20
    for name, value in plain.items():
        assert torch.equal(found[name], value), name
    assert little < much


def test_of_a_deep_encoder_most_memory_is_spared():
    (_, much), (_, little) = (
        gradients("hubert", on, 4.0, num_hidden_layers=12) for on in (False, True)
    )
    assert little < 0.5 * much


@pytest.mark.parametrize("method", ["stable", "lora"])
def test_a_run_is_the_same_with_it(tmp_path, tiny_config, method):
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    more = {"method": method, "steps": 5, "head_warmup": 0.2}
    plain = finetune(settings(base, tmp_path / "plain", **more))
    out = finetune(settings(base, tmp_path / "less", checkpointing=True, **more))
    assert not moved(out / "encoder", plain / "encoder")
    records = [json.loads((one / "speechft.json").read_text()) for one in (plain, out)]
    assert records[0]["depends"] == records[1]["depends"]


def test_pre_training_has_it_too(tmp_path, tiny_config):
    base = build_encoder(tiny_config, seed=0).save(tmp_path / "base")
    more = {"init": str(base), "data": "synthetic:tiny", "seconds": 8, "threads": 1}
    more |= {"steps": 3, "layer": 1, "clusters": 8}
    plain = pretrain(PretrainSettings(out=tmp_path / "plain", **more))
    out = pretrain(PretrainSettings(out=tmp_path / "less", checkpointing=True, **more))
    assert not moved(out / "encoder", plain / "encoder")
    assert moved(out / "encoder", base)
