"""Attention by products in bfloat16, beside torch's own in float64."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from speechft.encoders import attention, build_encoder, load_encoder
from speechft.encoders.dropout import draw_kept, scale_of

SHAPE = (3, 2, 40, 16)


def _given(seed=0):
    torch.manual_seed(seed)
    return [(2 * torch.randn(SHAPE)).bfloat16().requires_grad_() for _ in range(3)]


def _exact(given, mask=None):
    doubled = [t.detach().double().requires_grad_() for t in given]
    return doubled, F.scaled_dot_product_attention(*doubled, attn_mask=mask)


class _Whole(nn.Module):
    """A layer whose queries see all keys."""

    is_causal = False


@pytest.fixture(params=[True, False], ids=["matrix units", "none"])
def units(request, monkeypatch):
    """Both ways forward, whatever this processor has."""
    monkeypatch.setattr(attention, "has_matrix_units", lambda: request.param)
    return request.param


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.usefixtures("units")
def test_results_and_gradients(padded):
    given = _given()
    seen = None
    if padded:
        seen = (torch.arange(40) < torch.tensor([40, 25, 1])[:, None])[:, None, None]
    doubled, wanted = _exact(given, seen)
    weights = torch.randn(SHAPE).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert attention._worth_it(nn.Module(), given[0], given[1], seen, {})
        found, _ = attention._attend(nn.Module(), *given, seen)
    found.backward(weights.transpose(1, 2))
    wanted.backward(weights.double())
    pairs = [(found.transpose(1, 2), wanted)]
    pairs += [(a.grad, b.grad) for a, b in zip(given, doubled, strict=True)]
    for a, b in pairs:
        assert float((a.detach() - b.detach()).norm() / b.detach().norm()) < 1e-2


@pytest.mark.usefixtures("units")
def test_it_is_as_near_to_the_exact_result_as_the_fused_kernel():
    given = _given(1)
    _, wanted = _exact(given)
    own = attention._attend(nn.Module(), *given, None)[0].transpose(1, 2)
    fused = F.scaled_dot_product_attention(*given)
    off = [float((t.detach() - wanted.detach()).norm()) for t in (own, fused)]
    assert off[0] < 2 * off[1]


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.usefixtures("units")
def test_no_scores_are_kept_for_the_way_back(dropout):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        attention._attend(nn.Module(), *_given(), None, dropout=dropout)
    scores = [t.dtype for t in kept if t.shape[-2:] == (40, 40)]
    assert scores == ([torch.bool] if dropout else [])


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_fused_kernel_is_the_way_forward_on_matrix_units(dropout, units, monkeypatch):
    calls, fused = [], attention._FUSED

    def counted(*given, **more):
        calls.append(1)
        return fused(*given, **more)

    monkeypatch.setattr(attention, "_FUSED", counted)
    attention._attend(nn.Module(), *_given(), None, dropout=dropout)
    assert len(calls) == (units and not dropout)


def test_a_torch_without_the_fused_kernel(monkeypatch):
    monkeypatch.setattr(attention, "has_matrix_units", lambda: True)
    given = _given()
    found = []
    for kernel in (attention._FUSED, None):
        monkeypatch.setattr(attention, "_FUSED", kernel)
        found.append(attention._attend(nn.Module(), *given, None)[0])
    torch.testing.assert_close(*found, rtol=0.02, atol=0.02)


def test_how_long_utterances_may_be_depends_on_matrix_units(units):
    frames = 384 if units else 512
    for length in (frames, frames + 1):
        long = torch.empty(1, 1, length, 8, dtype=torch.bfloat16, requires_grad=True)
        assert attention._worth_it(nn.Module(), long, long, None, {}) == (length == frames)


@pytest.mark.usefixtures("units")
def test_with_dropout_results_and_gradients_are_those_of_what_was_drawn():
    given = _given(3)
    seen = (torch.arange(40) < torch.tensor([40, 25, 1])[:, None])[:, None, None]
    torch.manual_seed(4)
    found = attention._attend(nn.Module(), *given, seen, dropout=0.4)[0].transpose(1, 2)
    torch.manual_seed(4)
    drawn = draw_kept((*SHAPE[:3], SHAPE[2]), 0.4).double() * scale_of(0.4)
    doubled = [t.detach().double().requires_grad_() for t in given]
    query, key, value = doubled
    scores = (query @ key.mT / 4).masked_fill(~seen, float("-inf"))
    wanted = (scores.softmax(dim=-1) * drawn) @ value
    weights = torch.randn(SHAPE).bfloat16()
    found.backward(weights)
    wanted.backward(weights.double())
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(given, doubled, strict=True))]
    for a, b in pairs:
        assert float((a.detach() - b.detach()).norm() / b.detach().norm()) < 1e-2


@pytest.mark.parametrize("asked", [7, 40, 50], ids=["fewer", "as many", "more"])
@pytest.mark.parametrize("laid", ["by head", "by channel"])
@pytest.mark.usefixtures("units")
def test_any_number_of_queries_in_any_layout(asked, laid):
    torch.manual_seed(2)
    given = []
    for length in (asked, 40, 40):
        values = (2 * torch.randn(3, 2, length, 33)).bfloat16()
        values = values.mT.contiguous().mT if laid == "by channel" else values
        given.append(values.requires_grad_())
    doubled, wanted = _exact(given)
    weights = torch.randn(wanted.shape).bfloat16()
    found = attention._attend(_Whole(), *given, None)[0].transpose(1, 2)
    found.backward(weights)
    wanted.backward(weights.double())
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(given, doubled, strict=True))]
    for a, b in pairs:
        assert float((a.detach() - b.detach()).norm() / b.detach().norm()) < 1e-2


@pytest.mark.usefixtures("units")
def test_an_utterance_without_a_frame_harms_no_other():
    given = _given()
    seen = (torch.arange(40) < torch.tensor([40, 0, 25])[:, None])[:, None, None]
    found, _ = attention._attend(nn.Module(), *given, seen)
    found.float().square().sum().backward()
    assert all(bool(torch.isfinite(t).all()) for t in (found, *(t.grad for t in given)))


def test_what_is_written_for_other_sizes_goes_to_torch(units, monkeypatch):
    query, key, value = _given()
    seen = torch.arange(40)[None, None, None] < 25
    monkeypatch.setattr(attention._Attention, "apply", None)  # whoever calls it fails
    narrow = value[..., :8]
    for values, mask, dropout in ((narrow, None, 0.0), (value, seen, 0.0), (value, None, 1.0)):
        found, _ = attention._attend(_Whole(), query, key, values, mask, dropout=dropout)
        _, wanted = _exact((query, key, values), mask)
        wanted = wanted.transpose(1, 2) * (dropout == 0)
        torch.testing.assert_close(found.double(), wanted, rtol=0.05, atol=0.05)


def test_dropout_keeps_the_mean_and_its_gradient_fits_its_values():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, 30, 8).bfloat16().requires_grad_() for _ in range(3))
    many, exact = [], F.scaled_dot_product_attention(query, key, value).detach()
    for _ in range(400):
        many.append(attention._Attention.apply(query, key, value, None, 8**-0.5, 0.3))
    assert float((torch.stack(many).float().mean(0) - exact).detach().abs().mean()) < 0.03
    ones = torch.ones_like(many[0])
    (of_value,) = torch.autograd.grad(many[0], value, ones)  # the columns' sums of what was kept
    assert float((of_value[..., 0].sum() - many[1].new_tensor(30.0)).abs()) < 6
    assert float((of_value * value - many[0]).detach().sum()) == pytest.approx(0, abs=1)


@pytest.mark.parametrize("model_type", ["hubert", "wav2vec2"])
def test_encoders_train_with_it_and_no_file_says_so(model_type, tiny_config, tmp_path, waveforms):
    encoder = build_encoder(tiny_config(model_type), 0)
    states = []
    for name in (attention.NAME, "sdpa"):
        encoder.model.config._attn_implementation = name
        encoder.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            last = encoder(waveforms[:2]).hidden_states[-1].float()
        loss = (last * torch.linspace(-1, 1, last.numel()).view_as(last)).mean()
        loss.backward()
        gradient = encoder.model.encoder.layers[0].attention.q_proj.weight.grad
        states.append((float(loss.detach()), gradient.clone()))
    assert states[0][0] == pytest.approx(states[1][0], rel=1e-2)
    assert float((states[0][1] - states[1][1]).norm() / states[1][1].norm()) < 0.05
    assert not torch.equal(states[0][1], states[1][1]), "both went one way"
    encoder.model.config._attn_implementation = attention.NAME
    encoder.save(tmp_path / "e")
    assert attention.NAME not in (tmp_path / "e" / "config.json").read_text()
    assert "attn_implementation" not in json.loads((tmp_path / "e" / "config.json").read_text())
    assert load_encoder(tmp_path / "e").config._attn_implementation == attention.NAME


def test_what_goes_to_torch():
    query, key, _ = _given()
    module, mask = nn.Module(), torch.ones(3, 1, 40, 40, dtype=torch.bool)
    worth = attention._worth_it
    assert worth(module, query, key, None, {})
    assert not worth(module, query.float(), key.float(), None, {})
    assert not worth(module, query.detach(), key.detach(), None, {})
    assert not worth(module, query, key, mask, {})
    assert not worth(module, query, key, None, {"is_causal": True})
    long = torch.empty(1, 1, 513, 8, dtype=torch.bfloat16, requires_grad=True)
    assert not worth(module, long, long, None, {})
    with torch.no_grad():
        assert not worth(module, query, key, None, {})
