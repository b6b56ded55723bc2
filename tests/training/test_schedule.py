import pytest

from speechft.training.freezing import FreezePlan
from speechft.training.schedule import make_schedule, share_of, three_phase


@pytest.mark.parametrize(
    ("index", "factor"),
    [
        (0, 0.0),
        (1, 1 / 100),
        (50, 0.5),
        (99, 0.99),
        (100, 1.0),
        (300, 1.0),
        (499, 1.0),
        (500, 1.0),
        (750, 0.5),
        (999, 1 / 500),
    ],
)
def test_ten_points_of_the_stable_schedule(index, factor):
    assert three_phase(index, 1000) == pytest.approx(factor, abs=1e-12)


def test_the_stable_schedule_ends_at_zero():
    assert three_phase(1000, 1000) == 0.0


def test_shares_are_safe_against_rounding():
    assert 0.07 * 100 > 7  # the trap
    assert share_of(100, 0.07) == 7
    assert share_of(30, 0.1) == 3
    assert share_of(15, 0.1) == 2


def test_warmup_decay_moves_from_the_first_update_on():
    schedule = make_schedule("warmup-decay", 100)
    factors = [schedule(i) for i in range(100)]
    assert factors[0] > 0
    assert factors[-1] > 0
    assert max(factors) == pytest.approx(1.0)
    assert factors.index(max(factors)) == 7


def test_constant_schedule():
    assert {make_schedule("constant", 10)(i) for i in range(10)} == {1.0}


@pytest.mark.parametrize(("total", "first"), [(30, 4), (15, 3), (1000, 101), (5, 2), (1, 1)])
def test_the_encoder_first_moves_behind_a_tenth_of_the_updates(total, first):
    plan = FreezePlan(total)
    assert plan.first_encoder_update == first
    assert not plan.encoder_moves(first - 1)
    assert plan.encoder_moves(first)


def test_without_head_warmup_the_encoder_moves_at_once():
    assert FreezePlan(1000, head_warmup=0.0).encoder_moves(1)
