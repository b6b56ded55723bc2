"""Properties of the streaming engine that hold for any bits."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechft.merging.alpha import constant
from speechft.merging.engine import Recipe, plan, stream
from speechft.merging.sources import MappingSource
from speechft.merging.tensorfile import STORAGE, decode, encode

NAMES = [f"encoder.layers.{i}.x" for i in range(6)]
FLOATS = st.sampled_from(["F32", "F16", "BF16", "F64"])


def bits(dtype: str, count: int, seed: int) -> np.ndarray:
    """Draw any finite bit patterns of a type: subnormal, huge, negative zero."""
    kind = STORAGE[dtype]
    raw = np.random.default_rng(seed).integers(0, 256, 4 * count * kind.itemsize, dtype=np.uint8)
    values = raw.view(kind)
    keep = np.isfinite(decode(values, dtype))
    return np.resize(values[keep], count)


def source(stored: np.ndarray, dtype: str, name: str = "encoder.layers.0.x") -> MappingSource:
    return MappingSource("memory", {name: stored}, {name: dtype})


def merged(base: MappingSource, tuned: list[MappingSource], recipe: Recipe) -> np.ndarray:
    ((_, stored),) = stream(plan(base, tuned, recipe))
    return stored


@settings(max_examples=60, deadline=None)
@given(dtype=FLOATS, seed=st.integers(0, 10_000), count=st.integers(1, 300))
def test_alpha_zero_and_one_are_exact_for_any_bits(dtype: str, seed: int, count: int):
    base, tuned = bits(dtype, count, seed), bits(dtype, count, seed + 1)
    sources = source(base, dtype), [source(tuned, dtype)]
    for alpha, expected in ((0.0, base), (1.0, tuned)):
        for method in ("linear", "slerp", "task_arithmetic", "karcher", "multislerp"):
            out = merged(*sources, Recipe(method, constant(alpha)))
            assert out.tobytes() == expected.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    dtype=FLOATS,
    seed=st.integers(0, 10_000),
    alpha=st.floats(0, 1),
    tuned=st.integers(1, 4),
)
def test_any_finite_bits_give_finite_bits_between_the_parents(
    dtype: str, seed: int, alpha: float, tuned: int
):
    parents = [bits(dtype, 100, seed + i) for i in range(tuned + 1)]
    sources = [source(p, dtype) for p in parents]
    out = decode(merged(sources[0], sources[1:], Recipe(alpha=constant(alpha))), dtype)
    assert np.isfinite(out).all()
    values = np.stack([decode(p, dtype).astype(np.float64) for p in parents])
    slack = 1e-2 * np.abs(values).max(axis=0) + 1e-6
    assert (out >= values.min(axis=0) - slack).all()
    assert (out <= values.max(axis=0) + slack).all()
    self_merge = merged(sources[0], [sources[0]] * tuned, Recipe(alpha=constant(alpha)))
    np.testing.assert_array_equal(decode(self_merge, dtype), decode(parents[0], dtype))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=50))
def test_rounding_is_torchs(values: list[float]):
    array = np.array(values, dtype=np.float32)
    for dtype, kind in (("BF16", torch.bfloat16), ("F16", torch.float16)):
        ours = torch.from_numpy(encode(array, dtype).view(np.int16)).view(kind)
        theirs = torch.from_numpy(array).to(kind)
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours[~ours.isnan()], theirs[~theirs.isnan()])
        back = decode(encode(array, dtype), dtype)
        assert np.array_equal(back, theirs.float().numpy(), equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(NAMES))
def test_the_order_of_keys_does_not_matter(order: list[str]):
    generator = np.random.default_rng(0)
    base, tuned = (
        {name: generator.standard_normal(7, dtype=np.float32) for name in NAMES} for _ in range(2)
    )
    shuffled = {name: tuned[name] for name in order}
    plans = [
        plan(MappingSource("b", base), [MappingSource("t", state)], Recipe(alpha=constant(0.3)))
        for state in (tuned, shuffled)
    ]
    for (left, one), (right, two) in zip(*(stream(p) for p in plans), strict=True):
        assert left == right
        assert one.tobytes() == two.tobytes()
