"""mergekit's configuration files: those that mean the same, and those that do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.merging.alpha import parse_alpha
from speechft.merging.engine import Recipe, plan, stream
from speechft.merging.mergekit import from_mergekit
from speechft.merging.methods import METHODS
from speechft.merging.methods.sparse import breadcrumbs, ties
from speechft.merging.methods.sphere import karcher, model_stock
from speechft.merging.settings import MergeSettings
from speechft.merging.sources import MappingSource

GENERATOR = np.random.default_rng(0)
STATES = {
    name: {
        f"encoder.layers.{i}.{part}.weight": GENERATOR.standard_normal((5, 4), dtype=np.float32)
        for i in range(3)
        for part in ("attention", "feed_forward")
    }
    for name in "abc"
}
SPARSE = {"ties": ties, "breadcrumbs": breadcrumbs}
Q = "encoder.layers.1.attention.weight"


def read(text: str) -> SimpleNamespace:
    return SimpleNamespace(**{"alpha": (), "dtype": None} | from_mergekit(yaml.safe_load(text)))


def merged(imported: SimpleNamespace) -> dict[str, np.ndarray]:
    rules = None
    if imported.alpha:
        rules = parse_alpha(imported.alpha, METHODS[imported.method].default_alpha)
    recipe = Recipe(imported.method, rules, imported.parameters, dtype=imported.dtype)
    sources = {name: MappingSource(name, state) for name, state in STATES.items()}
    planned = plan(sources[imported.base], [sources[n] for n in imported.tuned], recipe)
    return {info.name: value for info, value in stream(planned)}


def test_linear_with_normalised_weights():
    imported = read("""
        merge_method: linear
        models:
          - {model: a, parameters: {weight: 3.0}}
          - {model: b, parameters: {weight: 1.0}}
        dtype: float32
    """)
    expected = (3 * STATES["a"][Q] + STATES["b"][Q]) / 4
    np.testing.assert_allclose(merged(imported)[Q], expected, atol=1e-6)


def test_linear_of_three():
    imported = read("""
        merge_method: linear
        base_model: b
        models:
          - {model: a, parameters: {weight: 0.5}}
          - {model: b, parameters: {weight: 0.3}}
          - {model: c, parameters: {weight: 0.2}}
        parameters: {normalize: false}
    """)
    expected = 0.5 * STATES["a"][Q] + 0.3 * STATES["b"][Q] + 0.2 * STATES["c"][Q]
    assert imported.base == "b"
    np.testing.assert_allclose(merged(imported)[Q], expected, atol=1e-6)


def test_slerp_with_gradient_and_filter():
    imported = read("""
        merge_method: slerp
        base_model: a
        models: [{model: a}, {model: b}]
        parameters:
          t:
            - {filter: attention, value: [0, 1]}
            - {value: 0.5}
    """)
    assert imported.alpha == ("0.5", "*attention*=0.0..1.0")
    out = merged(imported)
    first, last = "encoder.layers.0.attention.weight", "encoder.layers.2.attention.weight"
    np.testing.assert_array_equal(out[first], STATES["a"][first])
    np.testing.assert_array_equal(out[last], STATES["b"][last])


def test_task_arithmetic_and_normalize():
    text = """
        merge_method: task_arithmetic
        base_model: a
        models:
          - model: a
          - {model: b, parameters: {weight: 0.6}}
          - {model: c, parameters: {weight: 0.2}}
        parameters: {lambda: 0.5, normalize: NORM}
    """
    base, one, two = (STATES[name][Q] for name in "abc")
    total = 0.6 * (one - base) + 0.2 * (two - base)
    for flag, divisor in (("false", 1.0), ("true", 0.8)):
        out = merged(read(text.replace("NORM", flag)))[Q]
        np.testing.assert_allclose(out, base + 0.5 * total / divisor, atol=1e-6)


@pytest.mark.parametrize("method", ["ties", "dare_ties", "dare_linear", "breadcrumbs"])
def test_sparse_methods_take_mergekits_defaults(method: str):
    imported = read(f"""
        merge_method: {method}
        base_model: a
        models:
          - {{model: b, parameters: {{weight: 1.0, density: 0.5}}}}
          - {{model: c, parameters: {{weight: 1.0, density: 0.5}}}}
        parameters: {{int8_mask: true}}
        out_dtype: bfloat16
    """)
    assert imported.parameters["density"] == 0.5
    assert imported.parameters["weights"] == (1.0, 1.0)
    assert imported.alpha == ("1.0",)
    assert imported.dtype == "bfloat16"
    assert imported.parameters.get("normalize") == {"ties": True, "dare_ties": False}.get(method)
    assert imported.parameters.get("rescale") == ("norm" if "dare" in method else None)
    base, *tuned = (STATES[name][Q] for name in "abc")
    values = {"alpha": 1.0, "density": 0.5, "weights": (1.0, 1.0)}
    found = (merged(imported)[Q].astype(np.uint32) << 16).view(np.float32)  # from bfloat16
    if method in SPARSE:
        np.testing.assert_allclose(found, SPARSE[method](base, tuned, **values), rtol=2**-8)
    else:  # which weights are dropped is chance
        assert np.abs(found - base).max() > 0.1


def test_model_stock_and_karcher():
    stock = read("""
        merge_method: model_stock
        base_model: a
        models: [{model: b}, {model: c}]
    """)
    assert (stock.base, stock.tuned, stock.alpha) == ("a", ("b", "c"), ())
    base, *tuned = (STATES[name][Q] for name in "abc")
    np.testing.assert_allclose(merged(stock)[Q], model_stock(base, tuned), atol=1e-6)
    mean = read("merge_method: karcher\nmodels: [{model: a}, {model: b}, {model: c}]")
    out = merged(mean)[Q]
    np.testing.assert_allclose(out, karcher(base, tuned, alpha=2 / 3), atol=1e-5)
    np.testing.assert_allclose(out, karcher(tuned[1], [base, tuned[0]], alpha=2 / 3), atol=1e-5)
    scale = np.mean([np.linalg.norm(STATES[name][Q]) for name in "abc"])
    assert np.linalg.norm(out) == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ({"merge_method": "multislerp"}, ["tangent step is zero"]),
        ({"merge_method": "tise"}, ["did you mean 'ties'"]),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "models": [{"model": "a"}, {"model": "b"}],
                "parameters": {"t": [{"filter": "attention", "value": 0.5}]},
            },
            ["t: missing for tensors that fit no filter"],
        ),
        ({"merge_method": "della"}, ["cannot take over"]),
        (
            {
                "merge_method": "slerp",
                "base_model": "a",
                "slices": [],
                "tokenizer_source": "base",
                "chat_template": "x",
                "dtype": "bfloat16",
                "parameter": 1,
            },
            [
                "slices: layers are not rearranged",
                "tokenizer_source: speech encoders have no tokenizer",
                "chat_template",
                "would round the encoders before they are merged",
                "parameter: unknown; did you mean 'parameters'",
                "t: missing",
            ],
        ),
        (
            {
                "merge_method": "ties",
                "models": [
                    {"model": "b", "parameters": {"weight": [0, 1], "density": 0.5}},
                    {"model": "c+lora", "parameters": {"weight": 1, "density": 0.4, "t": 1}},
                ],
                "parameters": {"rescale": True},
            },
            [
                "base_model: ties needs one",
                "b: weight: one number",
                "density: one value for all",
                "merge LoRA adapters",
                "ties has no 't' there",
                "rescale: ties does not rescale",
            ],
        ),
        (
            {
                "merge_method": "linear",
                "models": [{"model": "a", "parameters": {"weight": 0.5}}, {"model": "b"}],
                "parameters": {"normalize": False},
            },
            ["b: weight is missing", "weights that sum to 1.5"],
        ),
    ],
)
def test_what_would_mean_something_else_is_said(recipe: dict[str, Any], parts: list[str]):
    with pytest.raises(SettingsError) as caught:
        parse_settings(MergeSettings, {**recipe, "out": "merged"}, "recipe.yaml")
    for part in parts:
        assert part in str(caught.value)
    assert "recipe.yaml" in str(caught.value)
