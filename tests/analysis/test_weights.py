"""Task vectors beside each other: cosines and sign conflicts, against plain float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechft.analysis.weights import vectors


def encoders(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a.weight": (4, 5), "b.bias": (7,), "c.weight": (2, 3, 2)}
    return [
        {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for _ in range(count + 1)
    ]


def split(records):
    cosines = {(r["encoder"], r["with"]): r["value"] for r in records if "with" in r}
    conflicts = [r for r in records if r["measure"] == "sign conflict"]
    return cosines, {r["tensor"]: r["value"] for r in conflicts}


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 99))
def test_against_a_reference(seed):
    base, *others = encoders(seed)
    cosines, conflicts = split(vectors(base, dict(zip("xyz", others, strict=True))))
    flat = [
        np.concatenate([(one[n].double() - base[n].double()).numpy().ravel() for n in base])
        for one in others
    ]
    for (i, a), (j, b) in (((0, "x"), (1, "y")), ((0, "x"), (2, "z")), ((1, "y"), (2, "z"))):
        wanted = flat[i] @ flat[j] / np.linalg.norm(flat[i]) / np.linalg.norm(flat[j])
        assert cosines[a, b] == pytest.approx(wanted, abs=1e-6)
    found = vectors(base, {"x": others[0]})
    assert {r["measure"] for r in found} == {"deviation"}  # one alone stands to no other
    for record in found:
        before, after = (one[record["tensor"]].numpy() for one in (base, others[0]))
        wanted = 100 * np.linalg.norm(after - before) / np.linalg.norm(before)
        assert record["value"] == pytest.approx(wanted, rel=1e-4)
    for name in base:
        signs = np.sign([(one[name] - base[name]).numpy().ravel() for one in others])
        wanted = 100 * np.mean((signs.max(0) > 0) & (signs.min(0) < 0))
        assert conflicts[name] == pytest.approx(wanted, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 9))
def test_only_the_direction_counts(seed, scale):
    base, one, other = encoders(seed, 2)
    longer = {n: base[n] + scale * (t - base[n]) for n, t in other.items()}
    first, second = (split(vectors(base, {"x": one, "y": y})) for y in (other, longer))
    assert second[0]["x", "y"] == pytest.approx(first[0]["x", "y"], abs=1e-5)
    assert split(vectors(base, {"y": other, "x": one}))[0]["y", "x"] == pytest.approx(
        first[0]["x", "y"]
    )
    opposite = {n: 2 * base[n] - t for n, t in one.items()}
    cosines, conflicts = split(vectors(base, {"x": one, "y": opposite}))
    assert cosines["x", "y"] == pytest.approx(-1, abs=1e-5)
    assert min(conflicts.values()) == 100


def test_an_encoder_that_did_not_move_has_no_direction():
    base, one = encoders(0, 1)
    cosines, conflicts = split(vectors(base, {"x": one, "y": base}))
    assert cosines["x", "y"] is None
    assert set(conflicts.values()) == {0}
