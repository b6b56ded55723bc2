from __future__ import annotations

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.metrics.measures import (
    DIRECTIONS,
    TITLES,
    accuracy,
    better,
    direction,
    edits,
    error_rate,
)
from speechft.metrics.slots import (
    parse_slots,
    parse_slots_loosely,
    slot_type_f1,
    slot_value_cer,
)


def test_error_rate_sums_edits_and_lengths_over_utterances():
    references = [["a", "b", "c", "d"], ["a"]]
    hypotheses = [["a", "x", "c"], ["a", "b"]]  # 1 substitution, 1 deletion; 1 insertion
    assert edits(references, hypotheses) == [2, 1]
    assert error_rate(references, hypotheses) == pytest.approx(60.0)


def test_error_rate_can_pass_100_percent_and_meets_empty_sides():
    assert error_rate([["a"]], [["x", "y", "z"]]) == pytest.approx(300.0)
    assert error_rate([["a", "b"], []], [[], ["c"]]) == pytest.approx(150.0)


def test_tokens_may_hold_spaces_and_characters_are_tokens_of_a_string():
    assert edits([["a b"]], [["a", "b"]]) == [2]  # one token against two
    assert error_rate(["AB C"], ["ABC"]) == pytest.approx(25.0)
    assert error_rate(["Ab"], ["AB"]) == pytest.approx(50.0)  # case counts


def test_error_rate_refuses_nothing_and_unequal_numbers():
    with pytest.raises(DataError, match="at least one reference token"):
        error_rate([[]], [["a"]])
    with pytest.raises(DataError, match="as many predictions"):
        error_rate([["a"]], [])


def test_accuracy():
    assert accuracy(["a", "b", ["x", "y"]], ["a", "a", ["x", "z"]]) == pytest.approx(100 / 3)
    with pytest.raises(DataError):
        accuracy([], [])


def test_parse_slots():
    assert parse_slots("FLY TO B-city NEW  YORK E-city AT B-time NOON E-time") == [
        ("city", "NEW YORK"),
        ("time", "NOON"),
    ]
    # nearest end of the same type; stray markers inside are stripped; no partner, no slot
    assert parse_slots("B-a X B-b Y E-a Z E-a") == [("a", "X Y")]
    assert parse_slots("B-a X E-b") == []
    assert parse_slots("B-a E-a") == []  # nothing between the marks is no slot, as in S3PRL
    assert parse_slots("B-a E-a B-a X E-a") == [("a", "X")]
    assert parse_slots("B-list X E-list_owner") == []
    assert parse_slots("") == []


def test_slots_as_s3prl_parses_them():
    """Checked against S3PRL's own functions in benchmarks/losses.py."""
    assert parse_slots_loosely("B-list X E-list_owner") == [("list", "X")]
    strays = "B-a E-b X B-c Y E-d Z B-e E-a"
    assert parse_slots_loosely(strays) == [("a", "E-b X Y Z B-e")]
    assert parse_slots_loosely(strays, cleaned=False) == [("a", "E-b X B-c Y E-d Z B-e")]
    assert parse_slots(strays) == [("a", "X Y Z")]


def test_slot_type_f1_is_the_mean_over_utterances_of_sets():
    references = [[("a", "X"), ("a", "Y"), ("b", "Z")], [], [("a", "X")], [("a", "X")]]
    hypotheses = [[("a", "?")], [], [], [("a", "X"), ("c", "")]]
    # 2*1/(2+1), both empty 1, one empty 0, 2*1/(1+2)
    assert slot_type_f1(references, hypotheses) == pytest.approx(100 * (2 / 3 + 1 + 0 + 2 / 3) / 4)


def test_slot_value_cer_takes_the_best_value_of_the_type_and_ignores_spurious_slots():
    references = [[("a", "ABCD"), ("b", "XY")]]
    hypotheses = [[("a", "ZZZZ"), ("a", "ABCE"), ("c", "LONG SPURIOUS")]]
    assert slot_value_cer(references, hypotheses) == pytest.approx(100 * (1 + 2) / 6)
    assert slot_value_cer(references, references) == 0
    with pytest.raises(DataError, match="at least one slot"):
        slot_value_cer([[]], [[]])


def test_directions():
    assert set(DIRECTIONS) == set(TITLES)
    assert better("per", 1.0, 2.0)
    assert better("acc", 2.0, 1.0)
    assert not better("acc", 1.0, 1.0)
    with pytest.raises(SettingsError, match="did you mean 'per'"):
        direction("perr")
