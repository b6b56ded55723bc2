from __future__ import annotations

import math

import pytest
import torch

from speechft.metrics.similarity import FeatureSimilarity


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
