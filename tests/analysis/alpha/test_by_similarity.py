"""How far hidden states move: figures with known answers, and laws that hold for any states."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechft.analysis.alpha.by_similarity import (
    corrected,
    drift,
    largest_alpha,
    layer_alphas,
    numbers_of,
    overall,
    predicted,
    relative_error,
    text_of,
)


def states(seed, layers=3, frames=40, width=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, frames, width, generator=generator) + 5


def test_a_shift_by_one_standard_deviation():
    start = states(0)
    spread = (start - start.mean(dim=1, keepdim=True)).square().sum(dim=2).mean(dim=1).sqrt()
    moved = start.clone()
    moved[1, :, 0] += spread[1]
    moved[2, :, 0] += 3 * spread[2]
    assert drift(start, moved).tolist() == pytest.approx([0, 1, 3], abs=1e-5)
    assert overall(drift(start, moved)) == pytest.approx((10 / 3) ** 0.5, abs=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 99), st.floats(0, 1), st.floats(0.1, 9), st.floats(-9, 9))
def test_drift_is_linear_in_alpha_and_knows_no_unit(seed, alpha, scale, shift):
    start, end = states(seed), states(seed + 100)
    full = drift(start, end)
    there = drift(start, predicted(start, end, alpha))
    assert torch.allclose(there, alpha * full, atol=1e-5)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(seed)))[0]
    other = drift(start @ turn * scale + shift, end @ turn * scale + shift)
    assert torch.allclose(other, full, rtol=1e-3)


def test_parts_are_one_whole():
    start, end = states(0), states(1)
    parts = [(start[:, a:b], end[:, a:b], start[:, a:b]) for a, b in ((0, 7), (7, 40))]
    assert torch.allclose(relative_error(parts), drift(start, end))
    with pytest.raises(ValueError, match="no frames"):
        relative_error([])


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 9), st.floats(0.01, 2))
def test_the_largest_alpha_meets_the_bound(total, bound):
    alpha = largest_alpha(total, bound)
    assert 0 < alpha <= 1
    assert alpha * total <= bound * (1 + 1e-9)
    assert alpha == 1 or alpha * total == pytest.approx(bound)


def test_layers_by_their_own_outputs():
    assert layer_alphas(torch.tensor([9.0, 0.1, 0.5, 1.0]), 0.25) == pytest.approx([1, 0.5, 0.25])
    assert corrected([0.5, 0.5], 0.5, 0.25, 1.0) == pytest.approx([0.25, 0.25])
    assert corrected([0.5], 0.25, 0.0625, 1.0) == pytest.approx([0.25])  # it grows as the square
    assert corrected([0.4], 0.1, 0.9, 0.5) == corrected([0.4], 0.0, 0.9, 0.5) == [1.0]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_text_is_read_back_and_never_above(alphas):
    read = numbers_of(text_of(alphas))
    assert all(b <= a + 1e-9 and a - b < 1e-3 + 1e-9 for a, b in zip(alphas, read, strict=True))
    assert text_of(read) == text_of(alphas)
