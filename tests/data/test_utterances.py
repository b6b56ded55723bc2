from __future__ import annotations

import time

import pytest

from speechft.data.utterances import in_threads


@pytest.mark.parametrize("chunk", [1, 3])
def test_results_keep_the_order(chunk):
    assert in_threads(lambda x: x * x, range(5), "test", 2, chunk) == [0, 1, 4, 9, 16]


def test_what_has_not_begun_is_dropped():
    done = []

    def slow(number):
        time.sleep(0.01)
        done.append(number)
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_threads(slow, range(10_000), "test", 1)
    time.sleep(0.1)
    count = len(done)
    assert count < 100
    time.sleep(0.1)
    assert len(done) == count
