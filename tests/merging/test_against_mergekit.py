"""Agreement with mergekit on recorded vectors; benchmarks/peer_merge_vectors.py makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from speechft.merging.methods import METHODS
from speechft.merging.methods.base import (
    add_all,
    average,
    linear,
    move,
    task_arithmetic,
    task_vectors,
)
from speechft.merging.methods.sparse import breadcrumbs, drop, elect, ties
from speechft.merging.methods.sphere import karcher, model_stock, multislerp, slerp

FOLDER = Path(__file__).parents[1] / "fixtures" / "merging"
VECTORS = load_file(FOLDER / "mergekit.safetensors")
SHAPES = ("matrix", "vector", "kernel")


def inputs(shape: str, tuned: int = 3) -> tuple[np.ndarray, list[np.ndarray]]:
    arrays = [VECTORS[f"{shape}/input{i}"] for i in range(tuned + 1)]
    return arrays[0], arrays[1:]


def check(shape: str, case: str, ours: np.ndarray) -> None:
    theirs = VECTORS[f"{shape}/{case}"]
    base, tuned = inputs(shape)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    # Control: the agreement is far closer than the inputs are to the result.
    assert min(np.abs(theirs - other).max() for other in (base, *tuned)) > 1e-3


def test_the_vectors_say_where_they_come_from():
    provenance = json.loads((FOLDER / "mergekit.json").read_text())
    assert provenance["mergekit"]
    assert set(provenance["cases"]) == {k.split("/")[1] for k in VECTORS} - {
        "input0",
        "input1",
        "input2",
        "input3",
        "near",
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_linear(shape: str):
    base, tuned = inputs(shape)
    check(shape, "linear", linear(base, tuned[:1], alpha=0.25))
    check(shape, "linear_three", linear(base, tuned, alpha=1.0, weights=(0.3, 0.2, 0.1)))


@pytest.mark.parametrize("shape", SHAPES)
def test_slerp(shape: str):
    base, tuned = inputs(shape)
    check(shape, "slerp", slerp(base, tuned[:1], alpha=0.25))
    assert np.abs(linear(base, tuned[:1]) - VECTORS[f"{shape}/slerp"]).max() > 1e-3
    near = slerp(base, [VECTORS[f"{shape}/near"]], alpha=0.25)
    np.testing.assert_allclose(near, VECTORS[f"{shape}/slerp_near"], atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_task_arithmetic(shape: str):
    base, tuned = inputs(shape)
    check(shape, "task_arithmetic", task_arithmetic(base, tuned, alpha=0.3))
    negated = task_arithmetic(base, tuned[:2], alpha=1.0, weights=(0.5, -0.7))
    check(shape, "task_arithmetic_negated", negated)


@pytest.mark.parametrize("shape", SHAPES)
def test_ties(shape: str):
    base, tuned = inputs(shape)
    check(shape, "ties", ties(base, tuned, alpha=1.0, density=0.2))
    weighted = ties(base, tuned, alpha=0.4, density=0.6, weights=(0.5, 0.3, 0.9))
    check(shape, "ties_weighted", weighted)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", ["dare_linear", "dare_linear_plain", "dare_ties"])
def test_dare_with_the_same_masks(shape: str, case: str):
    base, tuned = inputs(shape, 3 if case == "dare_ties" else 2)
    masks = [VECTORS[f"{shape}/{case}/mask{i}"] == 1 for i in range(len(tuned))]
    rescale = "none" if case == "dare_linear_plain" else "norm"
    vectors = [
        drop(vector, mask, 0.4, rescale)
        for vector, mask in zip(task_vectors(base, tuned), masks, strict=True)
    ]
    if case == "dare_ties":
        check(shape, case, move(base, elect(vectors, None, normalize=False), 1.0))
    else:
        check(shape, case, move(base, average(vectors, (0.5, 0.5)), 1.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_dare_of_mergekit_is_not_the_papers(shape: str):
    """The paper divides by the density; mergekit restores the sum of magnitudes instead."""
    base, tuned = inputs(shape, 2)
    masks = [VECTORS[f"{shape}/dare_linear/mask{i}"] == 1 for i in range(2)]
    vectors = task_vectors(base, tuned)
    paper = [drop(v, m, 0.4, "expected") for v, m in zip(vectors, masks, strict=True)]
    for vector, mask, ours in zip(vectors, masks, paper, strict=True):
        np.testing.assert_allclose(ours[mask], vector[mask] / np.float32(0.4), rtol=1e-6)
    merged = move(base, average(paper, (0.5, 0.5)), 1.0)
    assert np.abs(merged - VECTORS[f"{shape}/dare_linear"]).max() > 1e-2


@pytest.mark.parametrize("shape", SHAPES)
def test_breadcrumbs(shape: str):
    base, tuned = inputs(shape)
    check(shape, "breadcrumbs", breadcrumbs(base, tuned, alpha=0.5, density=0.3, gamma=0.1))


@pytest.mark.parametrize("shape", SHAPES)
def test_model_stock(shape: str):
    base, tuned = inputs(shape)
    check(shape, "model_stock", model_stock(base, tuned))
    check(shape, "model_stock_two", model_stock(base, tuned[:2]))
    if shape == "matrix":
        check(shape, "model_stock_filters", model_stock(base, tuned, filter_wise=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_karcher(shape: str):
    base, tuned = inputs(shape)
    check(shape, "karcher", karcher(base, tuned, alpha=1.0))
    check(shape, "karcher_two", karcher(base, tuned[:2], alpha=1.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_multislerp_of_mergekit_takes_no_step(shape: str):
    """Its tangent step is zero, since the tangents are not logarithms but chords.

    So it gives the normalised mean, which is not SLERP for two tensors; ours is.
    """
    _, (one, two, _) = inputs(shape)
    theirs = VECTORS[f"{shape}/multislerp"]
    units = [v / np.linalg.norm(v) for v in (one, two)]
    mean = add_all([0.75 * units[0], 0.25 * units[1]])
    scale = 0.75 * np.linalg.norm(one) + 0.25 * np.linalg.norm(two)
    np.testing.assert_allclose(theirs, scale * mean / np.linalg.norm(mean), atol=1e-5)
    exact = slerp(units[0], [units[1]], alpha=0.25)
    np.testing.assert_allclose(multislerp(one, [two], alpha=0.25) / scale, exact, atol=1e-6)
    assert np.abs(theirs / scale - exact).max() > 1e-4


def test_every_method_that_mergekit_has_is_compared():
    shared = {"linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties",
              "breadcrumbs", "model_stock", "karcher", "multislerp"}  # fmt: skip
    cases = json.loads((FOLDER / "mergekit.json").read_text())["cases"]
    assert shared == {m for m in METHODS if any(c == m or c.startswith(f"{m}_") for c in cases)}
