"""Record what mergekit makes of small tensors: tests/fixtures/merging/mergekit.{safetensors,json}.

Run with a Python that has mergekit (LGPL; it is no dependency of this package):

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 && VENV/bin/pip install mergekit
    VENV/bin/python benchmarks/peer_merge_vectors.py tests/fixtures/merging
"""

from __future__ import annotations

import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import TensorGroup
from safetensors.torch import save_file

SHAPES = {"matrix": (24, 16), "vector": (40,), "kernel": (8, 4, 5)}
W1, W2, W3 = [1.0], [1.0, 1.0], [1.0, 1.0, 1.0]

#: name of the case → (mergekit's method, number of tuned, parameters, with BASE among the inputs)
CASES: dict[str, tuple[str, int, dict[str, Any], bool]] = {
    "linear": ("linear", 1, {"weight": [0.75, 0.25]}, True),
    "linear_three": ("linear", 3, {"weight": [0.4, 0.3, 0.2, 0.1]}, True),
    "slerp": ("slerp", 1, {"t": 0.25}, True),
    "slerp_near": ("slerp", 1, {"t": 0.25}, True),
    "task_arithmetic": ("task_arithmetic", 3, {"weight": W3, "lambda": 0.3}, True),
    "task_arithmetic_negated": ("task_arithmetic", 2, {"weight": [0.5, -0.7]}, True),
    "ties": ("ties", 3, {"weight": W3, "density": [0.2] * 3, "lambda": 1.0}, True),
    "ties_weighted": (
        "ties",
        3,
        {"weight": [0.5, 0.3, 0.9], "density": [0.6] * 3, "lambda": 0.4},
        True,
    ),
    "dare_linear": ("dare_linear", 2, {"weight": [0.5, 0.5], "density": [0.4] * 2}, True),
    "dare_linear_plain": (
        "dare_linear",
        2,
        {"weight": [0.5, 0.5], "density": [0.4] * 2, "rescale": False},
        True,
    ),
    "dare_ties": ("dare_ties", 3, {"weight": W3, "density": [0.4] * 3}, True),
    "breadcrumbs": (
        "breadcrumbs",
        3,
        {"weight": W3, "density": [0.3] * 3, "gamma": [0.1] * 3, "lambda": 0.5},
        True,
    ),
    "model_stock": ("model_stock", 3, {}, True),
    "model_stock_two": ("model_stock", 2, {}, True),
    "model_stock_filters": ("model_stock", 3, {"filter_wise": True}, True),
    "karcher": ("karcher", 3, {"max_iter": 50, "tol": 1e-7}, False),
    "karcher_two": ("karcher", 2, {"max_iter": 50, "tol": 1e-7}, False),
    "multislerp": ("multislerp", 2, {"weight": [0.75, 0.25]}, False),
}


def main(folder: Path) -> None:
    tensors: dict[str, torch.Tensor] = {}
    generator = torch.Generator().manual_seed(20260)
    for shape_name, shape in SHAPES.items():
        base = torch.randn(shape, generator=generator)
        tuned = [base + 0.5 * torch.randn(shape, generator=generator) for _ in range(3)]
        near = base + 0.01 * torch.randn(shape, generator=generator)
        for index, tensor in enumerate((base, *tuned)):
            tensors[f"{shape_name}/input{index}"] = tensor
        tensors[f"{shape_name}/near"] = near
        for case, (method, count, parameters, with_base) in CASES.items():
            chosen = [near] if case == "slerp_near" else tuned[:count]
            merged, masks = run(method, base if with_base else None, chosen, parameters)
            tensors[f"{shape_name}/{case}"] = merged
            for index, mask in enumerate(masks):
                tensors[f"{shape_name}/{case}/mask{index}"] = mask
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "mergekit.safetensors")
    provenance = {
        "made_by": "benchmarks/peer_merge_vectors.py",
        "mergekit": metadata.version("mergekit"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cases": {
            name: {"method": method, "tuned": count, "parameters": parameters}
            for name, (method, count, parameters, _) in CASES.items()
        },
    }
    (folder / "mergekit.json").write_text(json.dumps(provenance, indent=2) + "\n")


def run(
    method: str, base: torch.Tensor | None, tuned: list[torch.Tensor], parameters: dict[str, Any]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Call mergekit's registered method; record the random masks that it draws."""
    masks: list[torch.Tensor] = []
    draw = torch.bernoulli

    def recording(*args: Any, **kwargs: Any) -> torch.Tensor:
        masks.append(draw(*args, **kwargs))
        return masks[-1]

    torch.manual_seed(7)
    inputs = ([base] if base is not None else []) + tuned
    group = TensorGroup.from_tensors(
        [tensor.clone() for tensor in inputs], base_index=0 if base is not None else None
    )
    if method in ("linear", "karcher"):
        group = TensorGroup.from_tensors([tensor.clone() for tensor in inputs])
    torch.bernoulli = recording
    try:
        (merged,) = registry.get(method)([group], parameters=parameters)
    finally:
        torch.bernoulli = draw
    return merged, masks


if __name__ == "__main__":
    main(Path(sys.argv[1]))
