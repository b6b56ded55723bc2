"""Learning-rate schedules as pure functions of the update's index."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

ScheduleName = Literal["stable", "constant", "warmup-decay"]
Schedule = Callable[[int], float]

WARMUP, HOLD = 0.1, 0.4  # Speech-FT, PAPER section "The method"; the last half decays


def share_of(total: int, fraction: float) -> int:
    """Give ⌈fraction · total⌉, safe against 0.07 · 100 = 7.000000000000001."""
    return math.ceil(round(fraction * total, 9))


def three_phase(index: int, total: int, warmup: float = WARMUP, hold: float = HOLD) -> float:
    """Give the learning-rate factor of Speech-FT's stable fine-tuning.

    Linear from 0 over the first `warmup` of the updates, 1 over the next `hold`, then linear to 0.

    Args:
        index: update counted from 0; the first update has factor 0.
        total: number of updates N.
        warmup: share of the updates in which the rate rises.
        hold: share of the updates in which it stays.
    """
    rise = int(round(warmup * total, 9))
    fall = rise + int(round(hold * total, 9))
    if index < rise:
        return index / max(1, rise)
    if index < fall:
        return 1.0
    return max(0.0, (total - index) / max(1, total - fall))


def make_schedule(name: ScheduleName, total: int) -> Schedule:
    """Give the schedule called `name` for `total` updates.

    `stable` is 10/40/50 (rise, hold, fall), `constant` is 1 throughout, and `warmup-decay` rises
    over 8 % of the updates and falls linearly to 0 (HuBERT's pre-training).
    """
    if name == "constant":
        return lambda _: 1.0
    if name == "warmup-decay":
        return lambda index: three_phase(index + 1, total + 1, warmup=0.08, hold=0.0)
    return lambda index: three_phase(index, total)
