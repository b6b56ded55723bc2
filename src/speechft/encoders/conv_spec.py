"""fairseq's description of convolutions, such as `[(512,10,5)] + [(512,3,2)] * 4`, both ways."""

from __future__ import annotations

import ast
from typing import Any

from speechft.core.errors import CheckpointError

Layers = list[tuple[int, int, int]]


def parse_conv_spec(text: str) -> Layers:
    """Give (channels, kernel, stride) per convolution. Only lists, tuples, `+` and `*` are read.

    Raises:
        CheckpointError: the text holds anything else.
    """
    try:
        layers = _value(ast.parse(text, mode="eval").body)
        return [(int(c), int(k), int(s)) for c, k, s in layers]
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            "cannot read the description of the convolutions",
            where="conv_feature_layers",
            found=f"{text!r} ({error})",
            expected="such as [(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        ) from None


def format_conv_spec(layers: Layers) -> str:
    """Give fairseq's text for (channels, kernel, stride) per convolution."""
    runs: list[tuple[tuple[int, int, int], int]] = []
    for layer in layers:
        if runs and runs[-1][0] == layer:
            runs[-1] = (layer, runs[-1][1] + 1)
        else:
            runs.append((layer, 1))
    parts = [f"[({c},{k},{s})]" + (f" * {n}" if n > 1 else "") for (c, k, s), n in runs]
    return " + ".join(parts)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Add) and isinstance(left, list):
            return left + right
        if isinstance(node.op, ast.Mult) and isinstance(left, list) and 0 <= right <= 64:
            return left * right
    raise ValueError("not a list of layers")
