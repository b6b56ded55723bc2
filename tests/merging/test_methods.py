from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from speechft.core.errors import SettingsError
from speechft.merging.methods import METHODS, TensorContext
from speechft.merging.methods.base import linear, lines, soup, task_arithmetic
from speechft.merging.methods.data_based import fisher, regmean
from speechft.merging.methods.sparse import breadcrumbs, dare_linear, ties
from speechft.merging.methods.spectral import iso_c, iso_cts, tsv_m
from speechft.merging.methods.sphere import karcher, model_stock, multislerp, slerp

NAMES = sorted(METHODS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def draw(count: int, *shape: int, seed: int = 0, near: float = 1.0) -> list[np.ndarray]:
    generator = rng(seed)
    base = generator.standard_normal(shape, dtype=np.float32)
    return [base] + [
        base + near * generator.standard_normal(shape, dtype=np.float32) for _ in range(count)
    ]


def call(name: str, base: np.ndarray, tuned: list[np.ndarray], **values) -> np.ndarray:
    method = METHODS[name]
    if method.most == 1:
        tuned = tuned[:1]
    if method.wants_context:
        values["context"] = TensorContext("encoder.layers.1.x.weight", depth=0.5, seed=3)
    if method.statistics == "gram":
        inputs = [rng(9 + i).standard_normal((20, base.shape[-1] or 1)) for i in range(len(tuned))]
        values["statistics"] = [x.T @ x for x in inputs]
    if method.statistics == "fisher":
        values["statistics"] = [rng(9 + i).random(base.shape) for i in range(len(tuned))]
    return method.function(base, tuned, **values)


def finite(low: int = 1, high: int = 5) -> st.SearchStrategy[np.ndarray]:
    shape = st.one_of(
        st.tuples(st.integers(low, high)),
        st.tuples(st.integers(low, high), st.integers(low, high)),
        st.tuples(st.integers(low, 3), st.integers(low, 3), st.integers(low, 3)),
    )
    return shape.flatmap(
        lambda s: arrays(np.float32, (4, *s), elements=st.floats(-1e4, 1e4, width=32))
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(values=finite())
def test_a_model_merged_with_itself_is_itself(name: str, values: np.ndarray):
    base = values[0]
    merged = call(name, base, [base.copy(), base.copy()])
    assert merged.dtype == np.float32
    np.testing.assert_array_equal(merged, base)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(values=finite())
def test_no_nan_in_no_nan_out(name: str, values: np.ndarray):
    merged = call(name, values[0], list(values[1:]))
    assert merged.shape == values[0].shape
    assert np.isfinite(merged).all()


@pytest.mark.parametrize("name", [n for n in NAMES if METHODS[n].symmetric and n != "slerp"])
def test_order_of_tuned_does_not_matter(name: str):
    base, *tuned = draw(3, 6, 5)
    method = METHODS[name]
    if method.statistics:
        statistics = [rng(i).random((5, 5)) for i in range(3)]
        statistics = [s @ s.T + np.eye(5) for s in statistics]
        if method.statistics == "fisher":
            statistics = [rng(i).random((6, 5)) for i in range(3)]
        forward = method.function(base, tuned, statistics=statistics)
        backward = method.function(base, tuned[::-1], statistics=statistics[::-1])
    else:
        forward, backward = call(name, base, tuned), call(name, base, tuned[::-1])
    np.testing.assert_allclose(forward, backward, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_not_changed(name: str):
    base, *tuned = draw(2, 6, 5)
    before = [array.copy() for array in (base, *tuned)]
    merged = call(name, base, tuned)
    for array, old in zip((base, *tuned), before, strict=True):
        np.testing.assert_array_equal(array, old)
        assert not np.shares_memory(merged, array)


@pytest.mark.parametrize("name", [n for n in NAMES if METHODS[n].base_at_zero])
def test_alpha_zero_is_base(name: str):
    base, *tuned = draw(2, 6, 5)
    np.testing.assert_allclose(call(name, base, tuned, alpha=0.0), base, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if METHODS[n].tuned_at_one])
def test_alpha_one_is_tuned(name: str):
    base, *tuned = draw(1, 6, 5)
    np.testing.assert_allclose(call(name, base, tuned, alpha=1.0), tuned[0], atol=1e-6)


def test_linear_and_task_arithmetic_by_hand():
    base, one, two = (np.array(v, dtype=np.float32) for v in ([1, 2], [3, 2], [1, 6]))
    np.testing.assert_allclose(linear(base, [one, two], alpha=0.5), [1.5, 3])
    np.testing.assert_allclose(task_arithmetic(base, [one, two], alpha=0.5), [2, 4])
    np.testing.assert_allclose(task_arithmetic(base, [one], alpha=-1.0), [-1, 2])
    np.testing.assert_allclose(task_arithmetic(base, [one, two], alpha=1, weights=(1, -1)), [3, -2])
    np.testing.assert_allclose(soup(base, [one, two]), [2, 4])
    np.testing.assert_allclose(soup(base, [one, two], include_base=True), [5 / 3, 10 / 3])


def test_lines_is_linear_with_alpha_growing_by_depth():
    base, one = draw(1, 4, 4)
    for depth in (0.0, 0.5, 1.0):
        context = TensorContext(depth=depth)
        merged = lines(base, [one], context=context, alpha=0.2, beta=0.6)
        np.testing.assert_allclose(merged, linear(base, [one], alpha=0.2 + 0.6 * depth))
    flat = lines(base, [one], context=TensorContext(depth=0.7), alpha=0.2, beta=0.0)
    np.testing.assert_array_equal(flat, linear(base, [one], alpha=0.2))


def test_ties_by_hand():
    base = np.zeros(4, dtype=np.float32)
    one = np.array([4, -3, 0.1, 0.2], dtype=np.float32)
    two = np.array([2, 1, -0.1, 5], dtype=np.float32)
    # Half of the entries stay: one → [4, −3, 0, 0], two → [2, 0, 0, 5]; signs +, −, +, +.
    np.testing.assert_allclose(ties(base, [one, two], density=0.5), [3, -3, 0, 5])
    # All stay: the second entry's sum is −2, so only −3 counts; the third cancels, + is elected.
    np.testing.assert_allclose(ties(base, [one, two], density=1.0), [3, -3, 0.1, 2.6], atol=1e-6)


def test_breadcrumbs_by_hand():
    base = np.zeros(10, dtype=np.float32)
    one = np.arange(1, 11, dtype=np.float32)
    merged = breadcrumbs(base, [one], alpha=1.0, density=0.3, gamma=0.2)
    np.testing.assert_array_equal(merged, [0, 0, 0, 0, 0, 6, 7, 8, 0, 0])


def test_dare_keeps_the_expectation_and_depends_on_seed_and_name_only():
    base, one = np.zeros(40_000, dtype=np.float32), np.ones(40_000, dtype=np.float32)

    def run(seed: int, name: str, **values) -> np.ndarray:
        context = TensorContext(name, seed=seed)
        return dare_linear(base, [one], context=context, alpha=1.0, density=0.2, **values)

    merged = run(0, "a")
    assert set(np.unique(merged)) == {0, 5}
    assert merged.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(merged, run(0, "a"))
    assert (merged != run(1, "a")).any()
    assert (merged != run(0, "b")).any()
    assert run(0, "a", rescale="norm").sum() == pytest.approx(40_000, rel=1e-5)
    assert set(np.unique(run(0, "a", rescale="none"))) == {0, 1}


def test_slerp_by_hand_and_norms():
    base, one = np.array([2, 0], dtype=np.float32), np.array([0, 2], dtype=np.float32)
    half = math.sqrt(2)
    np.testing.assert_allclose(slerp(base, [one], alpha=0.5), [half, half], rtol=1e-6)
    np.testing.assert_allclose(
        slerp(base, [one], alpha=1 / 3), [2 * math.cos(math.pi / 6), 1], rtol=1e-6
    )
    zero = np.zeros(2, dtype=np.float32)
    np.testing.assert_allclose(slerp(zero, [one], alpha=0.25), [0, 0.5])


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.7])
def test_multislerp_and_karcher_with_one_tuned_are_slerp_on_unit_vectors(alpha: float):
    base, one = (v / np.linalg.norm(v) for v in draw(1, 7, 3))
    expected = slerp(base, [one], alpha=alpha)
    np.testing.assert_allclose(multislerp(base, [one], alpha=alpha), expected, atol=1e-6)
    np.testing.assert_allclose(karcher(base, [one], alpha=alpha), expected, atol=1e-6)
    assert np.abs(linear(base, [one], alpha=alpha) - expected).max() > 1e-3


def test_karcher_mean_has_no_gradient_left():
    base, *tuned = draw(3, 50)
    units = [t / np.linalg.norm(t) for t in tuned]
    mean = karcher(base, units, tolerance=1e-12).astype(np.float64)
    mean /= np.linalg.norm(mean)
    pull = np.zeros(50)
    for unit in units:
        cosine = float(mean @ unit)
        pull += math.acos(cosine) / math.sin(math.acos(cosine)) * (unit - cosine * mean)
    assert np.linalg.norm(pull) < 1e-5
    start = sum(units) / np.linalg.norm(sum(units))
    assert np.linalg.norm(start - mean) > 1e-4


def test_model_stock_by_hand():
    base = np.zeros(2, dtype=np.float32)
    one, two = np.array([1, 0], dtype=np.float32), np.array([1, 1], dtype=np.float32)
    cosine = 1 / math.sqrt(2)
    expected = 2 * cosine / (1 + cosine) * np.array([1, 0.5])
    np.testing.assert_allclose(model_stock(base, [one, two]), expected, rtol=1e-6)
    rows = np.stack([base, base]), np.stack([one, one]), np.stack([two, one])
    by_row = model_stock(rows[0], list(rows[1:]), filter_wise=True)
    np.testing.assert_allclose(by_row, [expected, one], rtol=1e-6)


def test_iso_c_has_equal_singular_values_and_keeps_their_sum():
    base, *tuned = draw(3, 12, 8)
    total = sum(t - base for t in tuned)
    merged = iso_c(base, tuned) - base
    before, after = (np.linalg.svd(m, compute_uv=False) for m in (total, merged))
    np.testing.assert_allclose(after, before.mean(), rtol=1e-4)
    u, _, v = np.linalg.svd(total, full_matrices=False)
    np.testing.assert_allclose(merged, before.mean() * u @ v, atol=1e-4)


def test_iso_c_by_hand():
    base = np.zeros((2, 2), dtype=np.float32)
    one, two = np.diag([3.0, 0]).astype(np.float32), np.diag([0, 1.0]).astype(np.float32)
    np.testing.assert_allclose(iso_c(base, [one, two]), np.diag([2, 2]), atol=1e-6)
    vector = np.array([1, 3], dtype=np.float32)
    np.testing.assert_allclose(iso_c(np.zeros_like(vector), [vector, -vector]), [0, 0])


def test_iso_cts_is_isotropic_and_equals_iso_c_when_all_is_common():
    base, *tuned = draw(2, 12, 10)
    merged = iso_cts(base, tuned, common_fraction=0.6) - base
    values = np.linalg.svd(merged, compute_uv=False)
    np.testing.assert_allclose(values, values.mean(), rtol=1e-3)
    common = iso_cts(base, tuned, common_fraction=1.0)
    np.testing.assert_allclose(common, iso_c(base, tuned), atol=1e-4)


def test_iso_cts_rounds_each_tasks_rank_to_the_nearest():
    """Of 10 directions 8 are common; of the 2 left each of 3 tasks gets 1, not 0, and 7 stay."""
    base, *tuned = draw(3, 12, 10)
    vectors = [t - base for t in tuned]
    left, values, right = np.linalg.svd(sum(vectors), full_matrices=False)
    parts = [(left[:, :7], values[:7], right[:7])]
    for vector in vectors:
        rest = vector - left[:, :7] @ left[:, :7].T @ vector
        u, s, v = np.linalg.svd(rest, full_matrices=False)
        parts.append((u[:, :1], s[:1], v[:1]))

    def polar(matrix):
        u, _, v = np.linalg.svd(matrix, full_matrices=False)
        return u @ v

    mean = np.concatenate([s for _, s, _ in parts]).mean()
    wanted = polar(np.hstack([u for u, *_ in parts])) @ polar(np.vstack([v for *_, v in parts]))
    np.testing.assert_allclose(iso_cts(base, tuned) - base, mean * wanted, atol=1e-4)
    # There are never more directions than the matrix has.
    small = [one[:3, :3] for one in tuned[:2]]
    assert np.isfinite(iso_cts(base[:3, :3], small, common_fraction=0.0)).all()


def test_tsv_m_takes_interference_away():
    base = np.zeros((4, 4), dtype=np.float32)
    one = np.diag([5.0, 4, 0, 0]).astype(np.float32)
    two = np.diag([0, 0, 3.0, 2]).astype(np.float32)
    # Orthogonal tasks of rank N/2 do not interfere: their sum comes back whole.
    np.testing.assert_allclose(tsv_m(base, [one, two]), one + two, atol=1e-5)
    # One task alone is itself.
    np.testing.assert_allclose(tsv_m(base, [one]), one, atol=1e-5)
    # The third and fourth direction of a task of full rank are cut.
    full = np.diag([5.0, 4, 3, 2]).astype(np.float32)
    kept = np.linalg.svd(tsv_m(base, [full, np.zeros_like(full)]), compute_uv=False)
    np.testing.assert_allclose(sorted(kept), [0, 0, 4, 5], atol=1e-5)


def test_regmean_solves_the_regression():
    base, *tuned = draw(2, 4, 6)
    inputs = [rng(i).standard_normal((50, 6)) for i in (1, 2)]
    grams = [x.T @ x for x in inputs]
    merged = regmean(base, tuned, statistics=grams, off_diagonal=1.0)
    stacked = np.vstack(inputs)
    targets = np.vstack([x @ w.T for x, w in zip(inputs, tuned, strict=True)])
    expected = np.linalg.lstsq(stacked, targets, rcond=None)[0].T
    np.testing.assert_allclose(merged, expected, atol=1e-4)
    same = regmean(base, tuned, statistics=[np.eye(6)] * 2)
    np.testing.assert_allclose(same, (tuned[0] + tuned[1]) / 2, atol=1e-5)
    alone = regmean(base, tuned[:1], statistics=grams[:1])
    np.testing.assert_allclose(alone, tuned[0], atol=1e-5)
    missing = regmean(base, tuned, statistics=[grams[0], None])
    np.testing.assert_allclose(missing, (tuned[0] + tuned[1]) / 2, atol=1e-5)


def test_fisher_by_hand():
    base = np.zeros(3, dtype=np.float32)
    one, two = np.array([1, 1, 1], dtype=np.float32), np.array([5, 5, 5], dtype=np.float32)
    statistics = [np.array([1.0, 3, 0]), np.array([3.0, 1, 0])]
    np.testing.assert_allclose(fisher(base, [one, two], statistics=statistics), [4, 2, 3])


def test_methods_describe_themselves():
    for name, method in METHODS.items():
        assert method.name == name
        assert method.help
        assert "(" in method.paper or any(c.isdigit() for c in method.paper)
        assert "θ̂" in method.formula


def test_parameters_are_checked_together():
    with pytest.raises(SettingsError) as caught:
        METHODS["ties"].check({"densty": 0.2, "normalize": "perhaps", "weights": "1,2,3"}, 2)
    text = str(caught.value)
    assert "densty: unknown; did you mean 'density'?" in text
    assert "normalize: expected bool" in text
    assert "weights: 3 numbers for 2" in text
    assert METHODS["ties"].check({"density": "0.3", "weights": "1,2"}, 2) == {
        "density": 0.3,
        "weights": (1.0, 2.0),
    }
    with pytest.raises(SettingsError, match="slerp cannot merge 2"):
        METHODS["slerp"].check({}, 2)
    with pytest.raises(SettingsError, match="did you mean 'linear'"):
        METHODS["linaer"]
