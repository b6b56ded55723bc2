from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechft.metrics.similarity import FeatureSimilarity, Side


def compared(first, second, piece=7):
    found = FeatureSimilarity()
    for start in range(0, len(first), piece):
        found.add(first[start : start + piece], second[start : start + piece])
    return found


@pytest.fixture
def states():
    return torch.randn(60, 5, generator=torch.Generator().manual_seed(0))


def test_states_are_like_themselves(states):
    found = compared(states, states)
    assert found.cka == pytest.approx(1, abs=1e-6)
    assert found.cosine == pytest.approx(1, abs=1e-6)
    assert found.frames == 60


def test_cka_does_not_see_rotation_scale_and_shift_and_the_cosine_does(states):
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0]
    found = compared(states, 3 * states @ turn + 10)
    assert found.cka == pytest.approx(1, abs=1e-5)
    assert abs(found.cosine) < 0.9


def test_cka_by_its_definition_on_kernels(states):
    """Kornblith et al. 2019, equation 3: HSIC of centred Gram matrices."""
    other = torch.tanh(states) + 0.5 * states.flip(1)
    centre = torch.eye(60) - 1 / 60
    k, m = (centre @ x @ x.T @ centre for x in (states, other))
    wanted = float((k * m).sum() / (k.norm() * m.norm()))
    assert compared(states, other).cka == pytest.approx(wanted, rel=1e-4)
    assert wanted < 0.95


def test_states_that_have_nothing_in_common():
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(4000, 4, generator=generator) for _ in range(2))
    found = compared(first, second, 500)
    assert found.cka < 0.01
    assert abs(found.cosine) < 0.05


def test_opposite_states(states):
    assert compared(states, -states).cosine == pytest.approx(-1)


def test_without_frames_or_without_change():
    assert math.isnan(FeatureSimilarity().cka)
    assert math.isnan(FeatureSimilarity().cosine)
    assert math.isnan(compared(torch.zeros(9, 2), torch.zeros(9, 2)).cka)
    assert math.isnan(compared(torch.full((9, 2), 3e3), torch.full((9, 2), 3e3)).cka)
    assert math.isnan(compared(torch.ones(1, 2), torch.ones(1, 2)).cka)


def test_a_large_mean_costs_no_digits(states):
    other = states.flip(1) + 0.3 * states
    shifted = states.clone()
    shifted[:, 0] += 3000
    assert compared(shifted, other).cka == pytest.approx(compared(states, other).cka, abs=1e-3)


def reference(x, y, batches):
    """All figures in float64, by their definitions, with N-by-N kernels and whole matrices."""
    x, y = x.double().numpy(), y.double().numpy()
    a, b = x - x.mean(0), y - y.mean(0)
    cka = (a.T @ b).__pow__(2).sum() / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    cosine = ((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).mean()
    (u, s, _), (v, t, _) = (np.linalg.svd(m, full_matrices=False) for m in (a, b))
    rho = np.linalg.svd(u.T @ v, compute_uv=False)
    i, j = (1 + int(np.argmax((w**2).cumsum() >= 0.99 * (w**2).sum())) for w in (s, t))
    few = np.linalg.svd(u[:, :i].T @ v[:, :j], compute_uv=False)
    sums = np.zeros(3)
    for part in batches:
        k, m = (w[part] @ w[part].T for w in (x, y))
        for one in (k, m):
            np.fill_diagonal(one, 0)
        n = len(k)
        sums += [
            n / (n * (n - 3)) * (
                np.trace(p @ q)
                + p.sum() * q.sum() / ((n - 1) * (n - 2))
                - 2 / (n - 2) * (p @ q).sum()
            )
            for p, q in ((k, m), (k, k), (m, m))
        ]  # fmt: skip
    unbiased = sums[0] / np.sqrt(sums[1] * sums[2])
    return {
        "cka": cka,
        "cosine": cosine,
        "cca": (rho**2).mean(),
        "svcca": few.mean(),
        "unbiased_cka": unbiased,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 99), width=st.integers(3, 12), frames=st.integers(40, 300))
def test_all_figures_are_those_of_a_float64_reference(dtype, seed, width, frames):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(frames, width, generator=generator, dtype=dtype)
    mixing = torch.randn(width, width, generator=generator, dtype=dtype)
    second = torch.tanh(first @ mixing) + 0.5 * torch.randn(first.shape, generator=generator)
    second = second.to(dtype)
    pieces = [slice(n, n + 37) for n in range(0, frames - frames % 37, 37)]
    pieces += [slice(frames - frames % 37, frames)] if frames % 37 > 3 else []
    heard = torch.cat([torch.arange(frames)[piece] for piece in pieces])
    found = FeatureSimilarity()
    for piece in pieces:
        found.add(first[piece], second[piece])
    wanted = reference(first[heard], second[heard], [slice(p.start, p.stop) for p in pieces])
    for name, value in wanted.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6), name


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 10), shift=st.floats(-3, 3))
def test_what_each_figure_does_not_see(seed, scale, shift):
    generator = torch.Generator().manual_seed(seed)
    first, noise = (torch.randn(80, 5, generator=generator).double() for _ in range(2))
    second = torch.tanh(first) + noise
    maps = torch.randn(5, 5, generator=generator).double()
    turn = torch.linalg.qr(maps)[0]
    plain, back = compared(first, second, 20), compared(second, first, 20)
    turned = compared(first, scale * second @ turn + shift, 20)
    bent = compared(first, second @ (maps + 3 * torch.eye(5)), 20)
    for name in ("cka", "unbiased_cka", "cca", "svcca"):
        value = getattr(plain, name)
        assert getattr(back, name) == pytest.approx(value, abs=1e-8), name
        assert getattr(turned, name) == pytest.approx(value, abs=1e-8), name
    assert bent.cca == pytest.approx(plain.cca, abs=1e-6)
    assert 0 <= plain.cca <= 1
    assert plain.unbiased_cka <= 1 + 1e-9


def test_few_frames_raise_cka_and_not_the_unbiased_one():
    generator = torch.Generator().manual_seed(0)
    found = [
        compared(*(torch.randn(30, 20, generator=generator) for _ in range(2)), 30)
        for _ in range(40)
    ]
    assert min(one.cka for one in found) > 0.2
    assert abs(sum(one.unbiased_cka for one in found) / len(found)) < 0.03


def test_a_side_that_is_shared_gives_the_same(states):
    side, alone = Side(), compared(states, states.flip(1), 20)
    shared = FeatureSimilarity(side)
    for start in range(0, 60, 20):
        shared.add(side.see(states[start : start + 20]), states.flip(1)[start : start + 20])
    for name in ("cka", "unbiased_cka", "cca", "svcca", "cosine"):
        assert getattr(shared, name) == pytest.approx(getattr(alone, name), abs=1e-12)
