from __future__ import annotations

import time

import pytest

from speechft.data.threads import threads


def test_results_come_in_order():
    with threads(2) as pool:
        assert list(pool.map(lambda x: x * x, range(5))) == [0, 1, 4, 9, 16]


def test_what_has_not_begun_is_dropped():
    done = []

    def slow(number):
        time.sleep(0.01)
        done.append(number)

    with pytest.raises(KeyboardInterrupt), threads(1) as pool:
        results = pool.map(slow, range(10_000))
        next(results)
        raise KeyboardInterrupt
    time.sleep(0.1)
    count = len(done)
    assert count < 100
    time.sleep(0.1)
    assert len(done) == count
