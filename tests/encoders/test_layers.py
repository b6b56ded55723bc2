"""Fast linear layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from speechft.encoders import build_encoder, layers
from speechft.encoders.layers import FastLinear, use_fast_linear
from speechft.encoders.layers import _is_intel as _known


@pytest.fixture(autouse=True)
def processor_of_amd(monkeypatch):
    monkeypatch.setattr(layers, "_is_intel", lambda: False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12), (1, 1, 12), (12,), (0, 12)])
def test_results_and_gradients_of_a_linear_layer(shape, bias):
    torch.manual_seed(0)
    plain = nn.Linear(12, 20, bias=bias)
    fast = copy.deepcopy(plain)
    use_fast_linear(fast)
    assert type(fast) is FastLinear
    inputs = [torch.randn(shape).requires_grad_()]
    inputs.append(inputs[0].detach().clone().requires_grad_())
    weights = torch.randn(*shape[:-1], 20)
    for layer, given in zip((plain, fast), inputs, strict=True):
        (layer(given) * weights).sum().backward()
    torch.testing.assert_close(fast(inputs[1]), plain(inputs[0]))
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for wanted, found in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)


def test_frozen_weights_get_no_gradient():
    fast = nn.Linear(4, 4)
    use_fast_linear(fast)
    fast.weight.requires_grad_(False)
    given = torch.randn(3, 4, requires_grad=True)
    fast(given).sum().backward()
    assert fast.weight.grad is None
    assert fast.bias.grad is not None
    assert given.grad is not None


def test_other_types_and_transforms_go_the_usual_way():
    fast = nn.Linear(4, 4)
    use_fast_linear(fast)
    given = torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(given).dtype == torch.bfloat16
    assert torch.func.vmap(fast)(given).shape == (3, 4)
    assert copy.deepcopy(fast).double()(given.double()).dtype == torch.float64


def test_encoders_use_it_and_keep_their_names(tiny_config):
    encoder = build_encoder(tiny_config("hubert"), 0)
    kinds = {type(m) for m in encoder.model.modules() if isinstance(m, nn.Linear)}
    assert kinds == {FastLinear}
    assert "encoder.layers.0.attention.q_proj.weight" in encoder.model.state_dict()


def test_processors_that_mkl_is_made_for_keep_its_products(monkeypatch):
    monkeypatch.setattr(layers, "_is_intel", lambda: True)
    monkeypatch.setattr(layers, "_product", None)  # whoever calls it fails
    fast = nn.Linear(4, 4)
    use_fast_linear(fast)
    fast(torch.randn(3, 4)).sum().backward()
    assert fast.weight.grad is not None


@pytest.mark.parametrize("bias", [True, False])
def test_under_autocast_the_same_bits_without_a_copy_of_the_weight(bias):
    torch.manual_seed(0)
    plain = nn.Linear(64, 96, bias=bias)
    fast = copy.deepcopy(plain)
    use_fast_linear(fast)
    given = torch.randn(2, 50, 64)
    found = []
    for layer in (plain, fast):
        inputs, kept = given.clone().requires_grad_(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: (kept.append(t), t)[1], lambda t: t
        ):
            with torch.autocast("cpu", torch.bfloat16):
                output = layer(inputs)
            output.float().square().mean().backward()
        gradients = [inputs.grad, *(p.grad for p in layer.parameters())]
        copies = [t for t in kept if t.dtype == torch.bfloat16 and {*t.shape} == {64, 96}]
        found.append((output, gradients, len(copies)))
    (wanted, wanted_gradients, copied), (output, gradients, kept_copies) = found
    assert torch.equal(output, wanted)
    assert all(map(torch.equal, gradients, wanted_gradients))
    assert (copied, kept_copies) == (1, 0)


def test_layers_that_read_the_same_states_share_their_copy():
    torch.manual_seed(0)
    plain = nn.ModuleList(nn.Linear(32, 16) for _ in range(4))
    fast = copy.deepcopy(plain)
    use_fast_linear(fast)
    states = torch.randn(2, 50, 32)

    def run(layers):
        given, kept = states.clone().requires_grad_(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (kept.append(t), t)[1], lambda t: t
        ):
            with torch.autocast("cpu", torch.bfloat16):
                states_of_a_layer = given * 1
                before = [layer(states_of_a_layer) for layer in layers[:2]]
                changed = given * 1
                changed.mul_(3)
                outputs = [*before, layers[2](changed), layers[3](changed.add_(1))]
            sum(output.float().square().mean() for output in outputs).backward()
        copies = {t.data_ptr() for t in kept if t.dtype == torch.bfloat16 and t.shape[-1] == 32}
        return [*outputs, *(p.grad for p in layers.parameters())], given.grad, len(copies)

    (wanted, wanted_sum, _), (found, found_sum, copies) = run(plain), run(fast)
    assert all(map(torch.equal, found, wanted))
    torch.testing.assert_close(found_sum, wanted_sum)  # whose three parts come in another order
    assert copies == 3, "one for two layers of one tensor, one for each of its later values"


@pytest.mark.parametrize("shape", [(0, 32), (2, 0, 32), (32,), (1, 1, 32)])
def test_any_number_of_rows_under_autocast(shape):
    layer = nn.Linear(32, 16)
    use_fast_linear(layer)
    given = torch.randn(shape, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(given)
    output.float().sum().backward()
    assert output.shape == (*shape[:-1], 16)
    assert given.grad.shape == shape


def test_another_tensor_has_a_copy_of_its_own_and_no_copy_outlives_its_use():
    torch.manual_seed(0)
    first, second = layers_of_one = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))
    use_fast_linear(layers_of_one)
    one, other = (torch.randn(4, 32, requires_grad=True) * 1 for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        held, found = first(one), second(other)
        del held
        wanted = nn.functional.linear(other, second.weight, second.bias)
    assert torch.equal(found, wanted)
    ((_, _, copied),) = layers._seen_last
    assert copied() is not None
    del found
    assert copied() is None


def test_values_that_change_unseen_are_read_again():
    torch.manual_seed(0)
    layers_of_one = nn.ModuleList(nn.Linear(32, 16) for _ in range(2))
    use_fast_linear(layers_of_one)
    first, second = layers_of_one
    given = torch.ones(4, 32)
    with torch.autocast("cpu", torch.bfloat16):
        held = first(given)
        given.numpy()[:] = 2  # torch does not count it as a change
        found, wanted = second(given), second(torch.full((4, 32), 2.0))
    assert held.grad_fn is not None
    assert torch.equal(found, wanted)


def test_what_the_processor_is(tmp_path):
    (tmp_path / "intel").write_text("vendor_id\t: GenuineIntel\n")
    (tmp_path / "amd").write_text("vendor_id\t: AuthenticAMD\n")
    found = {name: _known(tmp_path / name) for name in ("intel", "amd", "none")}
    assert found == {"intel": True, "amd": False, "none": False}
