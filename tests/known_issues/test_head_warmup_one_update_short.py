"""Head warm-up ended one update early: 59 of 600 updates, and none of 10.

The paper trains the head alone for the first 10 % of the updates: 60 of 600, 1 of 10.
"""

from __future__ import annotations

import pytest

from speechft.training.freezing import FreezePlan


@pytest.mark.parametrize(("updates", "head_only"), [(600, 60), (10, 1), (50_000, 5_000)])
def test_the_head_is_trained_alone_for_the_first_tenth(updates: int, head_only: int) -> None:
    plan = FreezePlan(updates)
    assert sum(not plan.encoder_moves(update) for update in range(1, updates + 1)) == head_only
