"""What a source task gains and the others lose, and what is chosen from it."""

from __future__ import annotations

import numpy as np
import pytest

from speechft.analysis.alpha.by_scores import Point, Scored, choose, trade_off


def acc(right, items=200):
    return Scored(
        "acc", 100 * right / items, np.array([[i < right, 1] for i in range(items)]) * 1.0
    )


def per(wrong, items=200):
    return Scored(
        "per", 100 * wrong / items, np.array([[i < wrong, 1] for i in range(items)]) * 1.0
    )


SCORES = {
    0.0: {"sid": acc(100), "er": acc(160), "pr": per(20)},
    0.5: {"sid": acc(150), "er": acc(158), "pr": per(22)},
    1.0: {"sid": acc(180), "er": acc(80), "pr": per(90)},
}


def test_gain_kept_and_bound():
    points = trade_off(SCORES, ["sid"])
    assert points[0.0] == Point(0.0, pytest.approx(220 / 3), 0.0, 1.0, 1.0)
    assert points[0.5].gain == 25
    assert points[0.5].kept == pytest.approx((79 + 89) / (80 + 90))
    assert 0.95 < points[0.5].low < points[0.5].kept
    assert points[1.0].kept == pytest.approx((40 + 55) / (80 + 90))


def test_the_bound_is_that_of_items_that_are_drawn_together():
    same = {"er": acc(160), "pr": per(20)}
    point = trade_off({0.0: same, 1.0: same}, ())[1.0]
    assert (point.kept, point.low, point.gain) == (1.0, 1.0, None)


def test_fewer_items_make_a_wider_interval():
    def low(items):
        scores = {a: {"er": acc(int(items * r), items)} for a, r in ((0.0, 0.8), (0.5, 0.79))}
        return trade_off(scores, ())[0.5].low

    assert low(100) < low(1000) < 0.79 / 0.8


def test_a_metric_that_is_no_ratio_has_no_spread():
    scores = {a: {"asv": Scored("eer", e)} for a, e in ((0.0, 10.0), (1.0, 19.0))}
    assert trade_off(scores, ())[1.0].low == pytest.approx(81 / 90)


def test_the_choice():
    points = trade_off(SCORES, ["sid"])
    assert choose(points) == 0.5
    assert choose(points, 0.9) == 0.5
    assert choose(points, 0.4) == 1.0
    assert choose(points, 1.0) == 0.0
    unseen = trade_off({a: {"er": s["er"]} for a, s in SCORES.items()}, ["sid"])
    assert choose(unseen, 0.95) == 0.5


def test_nothing_can_be_kept_of_nothing():
    points = trade_off({a: {"pr": per(200)} for a in (0.0, 1.0)}, ())
    assert (points[1.0].kept, points[1.0].low) == (None, None)
    assert choose(points, 0.5) == 0.0
