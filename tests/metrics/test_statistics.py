"""Statistics, against hand calculation, tables and simulation."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

import speechft
from speechft.metrics.statistics import (
    SeedValues,
    at_least_so_many,
    bootstrap_ratio,
    finite_mean,
    holm,
    mean_by_seed,
    paired,
    percentile_interval,
)

SOURCE = Path(speechft.__file__).parent


def test_mean_and_spread() -> None:
    found = SeedValues((1.0, 2.0, 3.0))
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.text() == "2.0 ± 1.0"
    assert found.text(0, signed=True) == "+2 ± 1"
    assert SeedValues((1.0,)).sd is None


def test_the_t_test_and_its_interval() -> None:
    # mean 2, sd 1, n 3: t = 2 / (1 / √3) = 3.4641 with 2 degrees of freedom
    found = SeedValues((1.0, 2.0, 3.0))
    assert found.p == pytest.approx(0.07417990, abs=1e-7)
    assert found.p_above(0.0) == pytest.approx(0.0370899, abs=1e-6)
    assert found.p_below(0.0) == pytest.approx(1 - 0.0370899, abs=1e-6)
    expected = ttest_1samp(found.values, 0.0).confidence_interval(0.9)
    assert found.interval(0.9)[:2] == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [(1.0,), (2.0, 2.0, 2.0), (0.0, 0.0)])
def test_seeds_that_do_not_vary_say_nothing(values: tuple[float, ...]) -> None:
    found = SeedValues(values)
    assert found.interval() is None
    assert (found.p, found.p_above(-10.0), found.p_below(10.0)) == (1.0, 1.0, 1.0)


def test_only_seeds_that_both_have_are_paired() -> None:
    found = paired({0: 1.0, 1: 2.0, 2: 5.0}, {2: 1.0, 1: 1.5})
    assert found is not None
    assert found.values == (0.5, 4.0)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_the_mean_over_pairs_has_the_seeds_as_its_units() -> None:
    found = mean_by_seed([SeedValues((1.0, 3.0)), SeedValues((3.0, 5.0))])
    assert found is not None
    assert found.values == (2.0, 4.0)
    assert mean_by_seed([SeedValues((1.0, 3.0)), SeedValues((3.0,))]) is None
    kept = {0: 1.0, 1: 2.0, 2: 9.0}  # of rows that are kept for other seeds, as many of them
    pairs = [paired(kept, dict.fromkeys(seeds, 0.0)) for seeds in ((0, 1), (1, 2), (0, 1))]
    assert mean_by_seed([one for one in pairs[:2] if one]) is None
    assert mean_by_seed([one for one in pairs[::2] if one]) == SeedValues((1.0, 2.0))


def test_holm_by_hand() -> None:
    # Sorted: 0.01 · 4 = 0.04, 0.02 · 3 = 0.06, 0.03 · 2 = 0.06 (0.06 before), 0.04 · 1 = 0.06
    found = holm([0.04, 0.01, 0.03, 0.02])
    assert [one.p for one in found] == pytest.approx([0.06, 0.04, 0.06, 0.06])
    # The first stands at 5 % / 4; the next does not at 5 % / 3, and all after it stay there.
    levels = [1 - 0.05 / 3, 1 - 0.05 / 4, 1 - 0.05 / 3, 1 - 0.05 / 3]
    assert [one.level for one in found] == pytest.approx(levels)
    assert holm([]) == []


def test_an_interval_at_holms_level_leaves_out_0_just_where_the_test_stands() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        tests = [SeedValues(tuple(rng.normal(rng.choice([0, 3]), 1, 4))) for _ in range(6)]
        for one, (p, level) in zip(tests, holm([t.p for t in tests]), strict=True):
            assert one.interval(level).excludes(0) == (p < 0.05)


@pytest.mark.parametrize(
    ("needed", "p"), [(1, 3 * 0.01), (2, 2 * 0.02), (3, 0.5)]
)  # the smallest of three, times three; …; the largest
def test_at_least_so_many_of_several(needed: int, p: float) -> None:
    assert at_least_so_many([0.5, 0.01, 0.02], needed) == pytest.approx(p)


def test_the_bootstrap_draws_the_same_items_for_both() -> None:
    parts = np.column_stack([np.arange(30) % 2, np.ones(30)]).astype(float)
    assert (bootstrap_ratio(parts) == bootstrap_ratio(parts.copy())).all()
    more = parts + np.array([0.5, 0.0])
    assert np.allclose(bootstrap_ratio(more) - bootstrap_ratio(parts), 50.0)


def test_folds_are_drawn_apart_and_their_mean_counts() -> None:
    right, wrong = np.tile([1.0, 1.0], (10, 1)), np.tile([0.0, 1.0], (40, 1))
    found = bootstrap_ratio(np.vstack([right, wrong]), [1] * 10 + [2] * 40)
    assert (found == 50.0).all()


def test_the_bootstrap_errs_about_as_often_as_it_says() -> None:
    """Of paired differences without any effect, about 5 % of the intervals leave out 0."""
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        one, other = (
            np.column_stack([rng.random(100) < 0.7, np.ones(100)]).astype(float) for _ in "ab"
        )
        found = percentile_interval(
            bootstrap_ratio(one, draws=300) - bootstrap_ratio(other, draws=300)
        )
        assert found is not None
        missed += found.excludes(0.0)
    assert 3 <= missed <= 30


def test_draws_without_a_denominator_are_left_out() -> None:
    assert percentile_interval(np.array([np.nan, np.nan])) is None
    assert finite_mean([1.0, float("nan"), 3.0]) == 2.0


@pytest.mark.parametrize("room", ["reporting", "analysis"])
def test_reports_and_analyses_have_no_statistics_of_their_own(room: str) -> None:
    for file in (SOURCE / room).rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(file.read_text("utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [str(node.module)]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not {n for n in names if n.split(".")[0] in ("statistics", "scipy")}, file
