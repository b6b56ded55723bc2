from __future__ import annotations

import numpy as np
import pytest

from speechft.core.errors import DataError
from speechft.metrics.detection import (
    bootstrap_eer,
    equal_error_rate,
    min_dcf,
    mtwv,
    query_parts,
)
from speechft.metrics.diarization import diarization_error_rate


def test_eer_where_the_curve_meets_the_diagonal_and_between_two_points():
    # one of four targets below one of four others: 25 % of both kinds are wrong
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    assert equal_error_rate(labels, [9, 8, 7, 3, 4, 2, 1, 0]) == pytest.approx(25.0)
    assert equal_error_rate(labels, [9, 8, 7, 6, 4, 2, 1, 0]) == pytest.approx(0.0)
    # ties put the points (0, 1/2) and (1/2, 1) on the curve: 1 - x = 1/2 + x at x = 1/4
    assert equal_error_rate([1, 0, 1, 0], [3, 2, 2, 1]) == pytest.approx(25.0)
    with pytest.raises(DataError, match="both kinds"):
        equal_error_rate([1, 1], [0.5, 0.6])
    with pytest.raises(DataError, match="finite"):
        equal_error_rate([1, 0], [0.5, float("nan")])


def test_min_dcf_by_hand() -> None:
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    scores = [9, 8, 7, 3, 4, 2, 1, 0]
    # Above 4: one of four missed, no false alarm: 0.01 · 1/4, of 0.01 where none is taken.
    assert min_dcf(labels, scores) == pytest.approx(25.0)
    # Where matches are as frequent as others the same threshold costs 1/4 · 0.5 of 0.5.
    assert min_dcf(labels, scores, p_target=0.5) == pytest.approx(25.0)
    # Where a match is likely, all four matches and one false alarm of four: 0.1 · 1/4 of 0.1.
    assert min_dcf([1, 0, 0, 0, 0], [1, 2, 0, 0, 0], p_target=0.9) == pytest.approx(25.0)
    assert min_dcf([1, 0], [0.0, 1.0]) == pytest.approx(100.0)  # no worse than deciding blindly
    with pytest.raises(DataError, match="both kinds"):
        min_dcf([1, 1], [0.5, 0.6])


def test_eer_of_trials_drawn_anew_is_the_eer_of_those_trials() -> None:
    random = np.random.default_rng(2)
    labels = random.random(60) < 0.5
    trials = np.stack([labels, np.round(random.normal(size=60) + labels, 1)], axis=1)  # with ties
    found = bootstrap_eer(trials, seed=7, draws=20)
    again = np.random.default_rng(7)
    for value in found:
        own = trials[again.integers(60, size=60)]
        assert value == pytest.approx(equal_error_rate(own[:, 0].astype(int), own[:, 1]))
    assert found.std() > 1
    alone = np.array([[1.0, 0.1], [0.0, 0.2]])
    assert np.isnan(bootstrap_eer(alone, draws=50)).any()  # draws of one kind have no EER


def test_the_parts_of_queries_add_up_to_mtwv() -> None:
    random = np.random.default_rng(0)
    wanted = random.random((6, 40)) < 0.1
    wanted[2] = False
    scores = np.round(random.normal(size=(6, 40)) + 3 * wanted, 1)
    trials = [(9, 60, int(row.sum()) + 1) for row in wanted]
    for listed in (None, trials):
        parts = np.array(query_parts(scores, wanted, listed))
        total = 100 * parts[:, 0].sum() / parts[:, 1].sum()
        assert total == pytest.approx(mtwv(scores, wanted, listed))
        assert total > 0
        assert (parts[2] == 0).all() == (listed is None)
    assert np.array(query_parts([[0.0, 1.0]], [[True, False]])).tolist() == [[0.0, 1.0]]


def test_mtwv_against_its_definition_at_every_threshold():
    random = np.random.default_rng(0)
    wanted = random.random((5, 40)) < 0.1
    wanted[2] = False  # a query without a match does not count
    scores = np.round(random.normal(size=(5, 40)) + 3 * wanted, 1)
    beta = 0.01 * (1 - 0.0008) / 0.0008
    assert beta == pytest.approx(12.49, abs=0.01)
    values = [0.0]
    for threshold in np.unique(scores):
        parts = []
        for row, truth in zip(scores, wanted, strict=True):
            if truth.any():
                said = row >= threshold
                miss = (truth & ~said).sum() / truth.sum()
                alarm = (~truth & said).sum() / (~truth).sum()
                parts.append(1 - miss - beta * alarm)
        values.append(float(np.mean(parts)))
    assert max(values) > 0
    assert mtwv(scores, wanted) == pytest.approx(100 * max(values))


def test_mtwv_by_hand():
    # query 1: both matches on top; query 2: its match below everything else
    scores = [[5.0, 4.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]]
    wanted = [[True, True, False, False], [True, False, False, False]]
    # accept from 4.0 up: no false alarm, misses 0 and 1: TWV = 1/2
    assert mtwv(scores, wanted) == pytest.approx(50.0)
    assert mtwv([[0.0, 1.0]], [[True, False]]) == 0.0
    with pytest.raises(DataError, match="occurs in a document"):
        mtwv([[0.0]], [[False]])
    with pytest.raises(DataError, match="as many"):
        mtwv([[0.0, 1.0]], [[False]])


def test_mtwv_counts_missing_trials_as_the_scorer_does():
    """Two English queries and documents of 4 queries and 10 documents, by hand.

    Query 1 has two matches, both searched; query 2 has three, of which one is searched. At 3.0 the
    first query has both matches and one false alarm of 8, the second its one of 3, no alarm of 7.
    """
    scores = [[5.0, 4.0, 3.0], [6.0, 1.0, 0.0]]
    wanted = [[True, True, False], [True, False, False]]
    trials = [(4, 10, 2), (4, 10, 3)]
    # From 4.0 up: (2/2 + 1/3 + 0 + 0) / 4, without any false alarm.
    assert mtwv(scores, wanted, trials) == pytest.approx(100 * (1 + 1 / 3) / 4)
    # The same with every trial written out, the missing ones at -10, as the scorer is told.
    full = np.full((4, 10), -10.0)
    full[:2, :3] = scores
    truth = np.zeros((4, 10), dtype=bool)
    truth[:2, :3] = wanted
    truth[1, 5:7] = truth[2, 4] = truth[3, 9] = True
    assert mtwv(full, truth) == pytest.approx(mtwv(scores, wanted, trials))
    assert mtwv(scores, wanted) == pytest.approx(100.0)


def test_der_by_hand():
    reference = [("a", 0.0, 10.0), ("b", 8.0, 20.0)]  # 22 s of speech, 2 s of overlap
    assert diarization_error_rate([reference], [reference]) == 0.0
    renamed = [("2", 0.0, 10.0), ("1", 8.0, 20.0)]
    assert diarization_error_rate([reference], [renamed]) == 0.0
    # a runs on to 12 (2 s false alarm), b begins at 13 (5 s missed), c speaks 20 to 21 (1 s false)
    found = [("x", 0.0, 12.0), ("y", 13.0, 20.0), ("z", 20.0, 21.0)]
    # 8-10: two speak, one found: 2 s missed; 10-12: b speaks, x found: 2 s confused; 12-13: missed
    assert diarization_error_rate([reference], [found]) == pytest.approx(100 * (2 + 2 + 1 + 1) / 22)
    assert diarization_error_rate([reference], [[]]) == pytest.approx(100.0)
    # one speaker who talks in two overlapping turns counts once
    double = [[("a", 0.0, 5.0), ("a", 4.0, 10.0)]]
    assert diarization_error_rate(double, [[("q", 0.0, 10.0)]]) == 0.0
    both = diarization_error_rate([reference, double[0]], [found, []])
    assert both == pytest.approx(100 * (6 + 10) / 32)
    with pytest.raises(DataError, match="silent"):
        diarization_error_rate([[]], [[("a", 0.0, 1.0)]])
    with pytest.raises(DataError, match="as many"):
        diarization_error_rate([[]], [])


def test_der_equals_pyannotes():
    """pyannote.metrics 4.2.0, collar 0, overlap scored, a speaker's overlapping turns joined."""
    random = np.random.default_rng(5)
    sides = ([], [])
    for _ in range(4):
        for side, speakers in zip(sides, (2, 3), strict=True):
            turns = []
            for speaker in range(speakers):
                for _ in range(3):
                    begin = round(float(random.uniform(0, 9)), 2)
                    end = round(begin + float(random.uniform(0.2, 2)), 2)
                    turns.append((f"s{speaker}", begin, end))
            side.append(turns)
    assert diarization_error_rate(*sides) == pytest.approx(154.65994962216624)


def test_der_equals_a_count_of_frames():
    """md-eval's definition on a grid of 10 ms, all mappings of speakers tried."""
    from itertools import permutations

    random = np.random.default_rng(1)
    for _ in range(5):
        grids, turns = [], []
        for speakers in (2, 3):
            grid = np.zeros((3, 100), dtype=bool)
            spoken = []
            for speaker in range(speakers):
                for begin in random.integers(0, 90, 2).tolist():
                    end = begin + int(random.integers(1, 10))
                    grid[speaker, begin:end] = True
                    spoken.append((f"s{speaker}", begin / 100, end / 100))
            grids.append(grid)
            turns.append(spoken)
        truth, guess = grids
        most = np.maximum(truth.sum(0), guess.sum(0)).sum()
        right = max(sum((truth[i] & guess[j]).sum() for i, j in enumerate(p))
                    for p in permutations(range(3)))  # fmt: skip
        found = diarization_error_rate([turns[0]], [turns[1]])
        assert found == pytest.approx(100 * (most - right) / truth.sum())
