"""What only a GPU can get wrong; the other tests run on one, too, where there is one."""

from __future__ import annotations

import copy

import pytest
import torch
from family_configs import FAMILIES, config_of

from speechft.core.artifact import processor
from speechft.core.devices import compute_exactly
from speechft.encoders import build_encoder
from speechft.heads.rnn import RecurrentCTC
from speechft.hidden.states import FrameStates
from speechft.probing.batches import feed
from speechft.probing.probe import Probe, ProbeStack

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
TOLERANCE = 1e-4


def speech(*samples):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(n, generator=generator) for n in samples]


def worst(found, wanted):
    return float((found.cpu() - wanted).abs().max() / wanted.std())


def test_cudnn_computes_in_float32_and_leaves_attention_alone():
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.enable_cudnn_sdp(True)
        compute_exactly.cache_clear()
        build_encoder(config_of("hubert"), seed=0)
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        torch.backends.cudnn.allow_tf32 = True  # somebody wants it all the same
        build_encoder(config_of("hubert"), seed=0)
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.backends.cuda.enable_cudnn_sdp(before[1])


@needs_gpu
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_states_are_those_of_the_cpu_alone_and_in_a_batch(family):
    encoder = build_encoder(config_of(family), seed=0).eval()
    waves = speech(16000, 9000, 31000)
    with torch.no_grad():
        wanted = [[s[0] for s in encoder([wave]).hidden_states] for wave in waves]
        encoder.to("cuda")
        batch = encoder(waves)
        for row, (wave, own) in enumerate(zip(waves, wanted, strict=True)):
            alone = encoder([wave]).hidden_states
            frames = len(own[0])
            assert int(batch.lengths[row]) == frames
            for state, reference in enumerate(own):
                assert worst(alone[state][0], reference) < TOLERANCE
                assert worst(batch.hidden_states[state][row, :frames], reference) < TOLERANCE


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("family", ["hubert", "wavlm", "decoar2"])
def test_gradients_in_half_precision_with_padding(family, device):
    config = {**config_of(family), "attention_dropout": 0.1, "num_attention_heads": 4}
    encoder = build_encoder(config, seed=0).train().to(device)
    with torch.autocast(device, torch.bfloat16):
        output = encoder(speech(16000, 24000, 40000))
        loss = output.hidden_states[-1].float().square().mean()
    loss.backward()
    gradients = {n: p.grad for n, p in encoder.encoder_parameters().items() if p.grad is not None}
    assert len(gradients) > 10
    assert all(bool(torch.isfinite(g).all()) for g in gradients.values())
    assert any(bool(g.abs().max() > 0) for g in gradients.values())
    biases = [n for n in encoder.encoder_parameters() if "rel_attn_embed" in n or "gru_rel" in n]
    assert bool(biases) == (family == "wavlm")
    assert all(bool(gradients[n].abs().max() > 0) for n in biases)


@needs_gpu
def test_a_recurrent_probe_has_the_gradients_of_the_cpu():
    compute_exactly()
    torch.manual_seed(0)
    head = RecurrentCTC(32, 10, projection=16, hidden=16, layers=2, dropout=0.0)
    module = Probe(3, head)
    states, lengths = torch.randn(3, 4, 20, 32), torch.tensor([20, 18, 9, 4])
    found = []
    for device in ("cpu", "cuda"):
        stack = ProbeStack(copy.deepcopy(module).to(device), [1e-3])
        logits = stack.logits(states.to(device), lengths.to(device), train=True)
        losses = logits[:, :, :4].square().mean().reshape(1)
        grads = torch.autograd.grad(losses.sum(), list(stack.parameters.values()))
        found.append([g.cpu() for g in grads])
    assert any(float(g.abs().max()) > 1e-4 for g in found[0])
    for cpu, cuda in zip(*found, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-3, atol=1e-6)


@needs_gpu
def test_batches_that_are_put_together_ahead_are_the_same():
    lengths = [5, 9, 7, 3, 8, 6]
    frames = torch.randn(2, sum(lengths), 4).half()
    states = FrameStates(frames.split(lengths, dim=1))
    wanted = [[i, (i + 1) % 6] for i in range(6)]
    given = list(feed(states, iter(wanted), "cuda"))
    plain = list(feed(states, iter(wanted), "cpu"))
    assert len(given) == len(plain) == 6
    for (one, own), (other, same) in zip(given, plain, strict=True):
        assert one.device.type == "cuda"
        assert torch.equal(one.cpu(), other)
        assert torch.equal(own.cpu(), same)


@needs_gpu
def test_the_gpu_is_part_of_what_made_a_result():
    torch.zeros(1, device="cuda")
    assert torch.cuda.get_device_name() in processor()
