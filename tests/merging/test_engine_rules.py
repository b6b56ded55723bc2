"""Rules of the streaming engine that one tensor and one method do not show."""

from __future__ import annotations

import numpy as np
import pytest

from speechft.core.errors import CheckpointError, IncompatibleModelsError, SettingsError
from speechft.merging.alpha import constant
from speechft.merging.engine import STEP, Recipe, compute, plan, steps, stream
from speechft.merging.methods import METHODS
from speechft.merging.sources import MappingSource

NAME = "encoder.layers.0.x.weight"
PAIR = "encoder.pos_conv_embed.conv.weight_g", "encoder.pos_conv_embed.conv.weight_v"


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def source(label: str, value: np.ndarray, name: str = NAME) -> MappingSource:
    return MappingSource(label, {name: value})


def sources(count: int, *shape: int) -> list[MappingSource]:
    return [source(f"model {i}", draw(i, *shape)) for i in range(count)]


def result(parents: list[MappingSource], recipe: Recipe, statistics=()) -> dict[str, np.ndarray]:
    planned = plan(parents[0], parents[1:], recipe, statistics)
    return {info.name: value for info, value in stream(planned)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", [n for n, method in METHODS.items() if not method.statistics])
def test_nan_in_a_tuned_encoder_is_named_by_every_method(name: str, bad: float):
    method = METHODS[name]
    values = draw(1, 6, 6)
    values[0, 0] = bad
    parents = [source("base", draw(0, 6, 6)), source("diverged", values)]
    parents += [source("other", draw(2, 6, 6))] if method.most is None else []
    with pytest.raises(CheckpointError, match="NaN or infinite") as error:
        result(parents, Recipe(name))
    assert error.value.where == f"diverged: {NAME}"


@pytest.mark.parametrize("name", ["iso_c", "iso_cts", "tsv_m"])
def test_differences_that_overflow_are_decomposed_in_float64(name: str):
    huge = np.where(draw(0, 3, 3) > 0, 2e38, -2e38).astype(np.float32)
    out = result([source("base", huge), source("opposite", -huge)], Recipe(name, constant(0.1)))
    assert np.isfinite(out[NAME]).all()


def test_sequential_rounds_of_dare_draw_their_own_masks():
    base = source("base", np.zeros(4000, np.float32))
    ones, twos = (source(str(v), np.full(4000, v, np.float32)) for v in (1.0, 2.0))
    recipe = Recipe(
        "dare_linear", constant(1.0), {"density": 0.5, "rescale": "none"}, sequential=True
    )
    out = result([base, ones, twos], recipe)[NAME]
    # The second round keeps half of what the first changed, and half of what it did not.
    counts = {value: int((out == value).sum()) for value in (0.0, 1.0, 2.0)}
    assert sum(counts.values()) == 4000
    assert counts[0.0] > 800
    assert counts[1.0] > 800
    assert counts[2.0] > 1800


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_both_parts_of_a_fused_kernel_belong_to_the_same_kernel(method: str):
    def make(seed: int) -> MappingSource:
        arrays = dict(
            zip(PAIR, (np.abs(draw(seed, 1, 1, 5)), draw(seed + 9, 6, 2, 5)), strict=True)
        )
        return MappingSource(str(seed), arrays)

    out = result([make(1), make(2)], Recipe(method, constant(0.7), weight_norm="fused"))
    norms = np.sqrt(np.square(out[PAIR[1]]).sum(axis=(0, 1), keepdims=True))
    np.testing.assert_allclose(out[PAIR[0]], norms, rtol=1e-5)


def test_a_sweep_in_memory_has_the_bits_of_the_parts_that_are_written():
    parents = sources(4, STEP + 1000)
    planned = plan(parents[0], parents[1:], Recipe(alpha=constant(0.3)))
    written = np.concatenate([compute(planned, *part) for part in steps(planned)])
    ((_, streamed),) = stream(planned)
    assert np.array_equal(streamed, written)  # no diff of a megabyte if it fails


def test_empty_tensors_stream():
    ((_, value),) = stream(plan(*(lambda p: (p[0], p[1:]))(sources(2, 0, 3)), Recipe()))
    assert value.shape == (0, 3)


def test_shares_that_cancel_out_are_interpolated_linearly():
    values = [np.ones(4), np.zeros(4), np.full(4, 3.0)]
    parents = [source(str(i), v.astype(np.float32)) for i, v in enumerate(values)]
    out = result(parents, Recipe("karcher", constant(2.0)))[NAME]
    np.testing.assert_allclose(out, -1 + 3.0)


# -- statistics ------------------------------------------------------------------------------


def fisher(*statistics: MappingSource) -> np.ndarray:
    return result(sources(3, 4, 6), Recipe("fisher"), statistics)[NAME]


def test_statistics_are_found_under_a_wrapping_classes_names():
    weights = [np.abs(draw(seed, 4, 6)) for seed in (7, 8)]
    plain = fisher(*(source(str(i), w) for i, w in enumerate(weights)))
    wrapped = fisher(*(source(str(i), w, f"hubert.{NAME}") for i, w in enumerate(weights)))
    uniform = fisher(*(source(str(i), np.ones_like(w)) for i, w in enumerate(weights)))
    assert plain.tobytes() == wrapped.tobytes()
    assert np.abs(plain - uniform).max() > 0.1


@pytest.mark.parametrize(
    ("value", "name", "kind", "message"),
    [
        (np.ones((4, 6)), "something.else", IncompatibleModelsError, "do not fit"),
        (np.ones((6, 6)), NAME, IncompatibleModelsError, r"expected \(4, 6\)"),
        (np.full((4, 6), np.nan), NAME, CheckpointError, "statistics hold NaN"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(
    value: np.ndarray, name: str, kind: type[Exception], message: str
):
    one = source("gathered", value.astype(np.float32), name)
    with pytest.raises(kind, match=message):
        fisher(one, one)


def test_a_gram_matrix_is_as_wide_as_the_inputs():
    gram = source("gathered", np.eye(4, dtype=np.float32))
    with pytest.raises(IncompatibleModelsError, match=r"expected \(6, 6\)"):
        result(sources(2, 4, 6), Recipe("regmean"), [gram])


def test_statistics_nobody_reads_are_refused():
    with pytest.raises(SettingsError, match="linear uses no statistics"):
        result(sources(2, 4, 6), Recipe(), [source("gathered", np.ones((4, 6), np.float32))])


# -- parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("ties", {"density": 3}, "density: expected 0 to 1, found 3"),
        ("dare_linear", {"density": -0.1}, "density: expected 0 to 1"),
        ("breadcrumbs", {"gamma": 1.5}, "gamma: expected 0 to 1"),
        ("iso_cts", {"common_fraction": 2}, "common_fraction: expected 0 to 1"),
        ("karcher", {"max_steps": 0}, "max_steps: expected at least 1"),
        ("fisher", {"floor": 0}, "floor: expected above 0"),
        ("linear", {"weights": "nan"}, "weights: expected numbers"),
    ],
)
def test_parameters_out_of_bounds_are_refused(method: str, parameters: dict, message: str):
    with pytest.raises(SettingsError, match=message):
        METHODS[method].check(parameters, 1)


def test_parameters_at_the_bounds_are_taken():
    assert METHODS["ties"].check({"density": 1, "weights": 2}, 1) == {
        "density": 1.0,
        "weights": (2.0,),
    }


@pytest.mark.parametrize("method", ["karcher", "multislerp"])
def test_weights_without_a_mean_are_refused(method: str):
    with pytest.raises(SettingsError, match="sum to 0"):
        result(sources(3, 4, 6), Recipe(method, constant(0.5), {"weights": (1.0, -1.0)}))
