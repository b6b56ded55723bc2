"""Long positional convolutions: through the spectrum, and by products in bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from speechft.encoders import positions
from speechft.encoders.positions import spectral_convolution


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "groups"), [(64, 4), (33, 1), (128, 2)])
@pytest.mark.parametrize("frames", [1, 50, 193, 194, 500])
def test_the_spectral_convolution_is_the_direct_one(kernel, groups, frames, bias):
    torch.manual_seed(0)
    conv = nn.Conv1d(8, 8, kernel, padding=kernel // 2, groups=groups, bias=bias)
    direct = torch.randn(3, 8, frames, requires_grad=True)
    spectral = direct.detach().clone().requires_grad_()
    weights = torch.randn(3, 8, frames)
    wanted = conv(direct)[..., :frames]
    (wanted * weights).sum().backward()
    gradients = [p.grad.clone() for p in conv.parameters()]
    conv.zero_grad()
    found = spectral_convolution(spectral, conv.weight, conv.bias, groups)
    (found * weights).sum().backward()
    assert float((found - wanted).detach().abs().max()) < 1e-5
    assert float((spectral.grad - direct.grad).abs().max()) < 1e-4
    for own, gradient in zip(conv.parameters(), gradients, strict=True):
        assert float((own.grad - gradient).abs().max() / gradient.abs().max()) < 1e-5


def test_the_comparison_can_fail():
    torch.manual_seed(0)
    conv = nn.Conv1d(8, 8, 64, padding=32)
    given = torch.randn(1, 8, 200)
    shifted = spectral_convolution(given, conv.weight.flip(-1), conv.bias)
    assert float((shifted - conv(given)[..., :200]).detach().abs().max()) > 0.1


@pytest.mark.parametrize(
    ("change", "spectral"),
    [
        ({}, True),
        ({"kernel_size": 16, "padding": 8}, False),
        ({"padding": 0}, False),
        ({"stride": 2}, False),
        ({"padding_mode": "circular"}, False),
    ],
)
def test_which_convolutions_go_through_the_spectrum(change, spectral):
    conv = nn.Conv1d(8, 8, **{"kernel_size": 64, "padding": 32, **change})
    assert positions._through_spectrum(conv, torch.randn(2, 8, 100)) is spectral


def test_few_frames_and_half_precision_go_the_direct_way():
    conv = nn.Conv1d(8, 8, 64, padding=32)
    assert not positions._through_spectrum(conv, torch.randn(1, 8, 15))
    assert not positions._through_spectrum(conv, torch.randn(2, 8, 100).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        assert not positions._through_spectrum(conv, torch.randn(2, 8, 100))


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("width", "groups", "kernel"), [(48, 2, 128), (32, 4, 9), (8, 4, 64)])
def test_in_bfloat16_it_is_the_convolution(width, groups, kernel, bias, units, monkeypatch):
    monkeypatch.setattr(positions, "has_matrix_units", lambda: units)
    torch.manual_seed(0)
    conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups, bias=bias)
    exact = copy.deepcopy(conv)
    given = [torch.randn(3, width, 70).requires_grad_() for _ in range(2)]
    given[1].data.copy_(given[0].data)
    weights = torch.randn(3, width, 70 + 1 - kernel % 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert positions._by_windows(conv, given[0]) == (not units or width // groups < 16)
        found = positions._convolved(conv, given[0])
    assert found.dtype == torch.bfloat16
    wanted = exact(given[1])
    for result in (found, wanted):
        (result * weights).sum().backward()
    pairs = [(found, wanted), (given[0].grad, given[1].grad)]
    pairs += [(a.grad, b.grad) for a, b in zip(conv.parameters(), exact.parameters(), strict=True)]
    for a, b in pairs:
        assert a.shape == b.shape
        apart = float((a.detach() - b.detach()).norm() / b.detach().norm())
        assert apart < 1.5e-2  # 1.06e-2 where the processor emulates bfloat16


def test_what_is_not_centred_or_has_wide_groups_is_left_to_torch():
    with torch.autocast("cpu", torch.bfloat16):
        for change in ({"stride": 2}, {"padding": 0}, {"groups": 1}):
            conv = nn.Conv1d(256, 256, **{"kernel_size": 64, "padding": 32, "groups": 2, **change})
            assert not positions._by_windows(conv, torch.randn(1, 256, 80))
    conv = nn.Conv1d(8, 8, 64, padding=32)
    assert not positions._by_windows(conv, torch.randn(2, 8, 100))


def test_a_frozen_convolution_gets_no_gradient():
    conv = nn.Conv1d(8, 8, 8, padding=4, groups=2)
    conv.weight.requires_grad_(False)
    given = torch.randn(2, 8, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        positions._convolved(conv, given).sum().backward()
    assert conv.weight.grad is None
    assert given.grad is not None
