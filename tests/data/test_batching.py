from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechft.core.errors import SettingsError
from speechft.data.batching import DurationBatches

DURATIONS = [1.0 + 0.37 * (i * 7 % 13) for i in range(60)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.1, 30), max_size=60),
    st.floats(1, 60),
    st.integers(0, 3),
    st.booleans(),
    st.none() | st.integers(1, 5),
)
def test_every_index_once_and_within_bounds(durations, seconds, epoch, shuffle, items):
    batches = DurationBatches(durations, seconds, 0, shuffle, items).epoch(epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(durations)))
    for batch in batches:
        assert len(batch) <= (items or len(durations))
        padded = max(durations[i] for i in batch) * len(batch)
        assert padded <= seconds + 1e-9 or len(batch) == 1


def test_is_a_function_of_seed_and_epoch():
    first = DurationBatches(DURATIONS, 12, seed=3)
    wanted = first.epoch(5)
    for epoch in (0, 1, 5):
        first.epoch(epoch)
    assert first.epoch(5) == wanted
    assert DurationBatches(DURATIONS, 12, seed=3).epoch(5) == wanted
    assert first.epoch(6) != wanted
    assert DurationBatches(DURATIONS, 12, seed=4).epoch(5) != wanted


def test_groups_similar_durations():
    batches = DurationBatches(DURATIONS, 20, 0).epoch(0)
    real = sum(DURATIONS)
    padded = sum(max(DURATIONS[i] for i in batch) * len(batch) for batch in batches)
    assert real / padded > 0.85
    mixed = [list(range(i, i + 5)) for i in range(0, 60, 5)]
    naive = sum(max(DURATIONS[i] for i in batch) * len(batch) for batch in mixed)
    assert real / naive < 0.85


def test_order_is_random_and_members_change():
    batches = DurationBatches(DURATIONS, 12, 0)
    means = [sum(DURATIONS[i] for i in b) / len(b) for b in batches.epoch(0)]
    assert means != sorted(means)
    assert {frozenset(b) for b in batches.epoch(0)} != {frozenset(b) for b in batches.epoch(1)}


def test_without_shuffling_from_short_to_long():
    batches = DurationBatches(DURATIONS, 12, 0, shuffle=False)
    order = [DURATIONS[i] for batch in batches.epoch(0) for i in batch]
    assert order == sorted(DURATIONS)
    assert batches.epoch(0) == batches.epoch(9)


@pytest.mark.parametrize(
    "arguments", [([1.0], 0.0), ([1.0], -1.0), ([float("nan")], 5.0), ([-1.0], 5.0)]
)
def test_refuses_impossible_bounds(arguments):
    with pytest.raises(SettingsError):
        DurationBatches(*arguments, seed=0)
    assert DurationBatches([], 5.0, seed=0).epoch(0) == []
