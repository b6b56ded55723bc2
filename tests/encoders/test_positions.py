from __future__ import annotations

import pytest
import torch
from torch import nn

from speechft.encoders import positions
from speechft.encoders.layers import spectral_convolution


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
