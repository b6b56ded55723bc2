"""Tensor names from one format to another, by rows that go both ways.

In a row `{l}` is a layer's number, `{i}` a convolution's, `{p}` weight or bias, `{x}` one of q, k,
v, out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Row = tuple[str, str]

_HOLES = {
    "l": r"(?P<l>\d+)",
    "i": r"(?P<i>\d+)",
    "p": r"(?P<p>weight|bias)",
    "x": r"(?P<x>[qkv]|out)",
}


def translate(names: Iterable[str], rows: Sequence[Row], *, back: bool = False) -> dict[str, str]:
    """Give old name → new name for every name that a row knows.

    Args:
        names: names to translate.
        rows: pairs of names, fairseq's and transformers'.
        back: from transformers to fairseq, instead of the other way.
    """
    compiled = _compile(tuple(rows), back)
    found: dict[str, str] = {}
    for name in names:
        for pattern, template in compiled:
            match = pattern.fullmatch(name)
            if match:
                found[name] = template.format(**match.groupdict())
                break
    return found


@lru_cache
def _compile(rows: tuple[Row, ...], back: bool) -> list[tuple[re.Pattern[str], str]]:
    pairs = [(new, old) if back else (old, new) for old, new in rows]
    return [(_pattern(source), target) for source, target in pairs]


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w)\}", template)
    text = "".join(_HOLES[p] if n % 2 else re.escape(p) for n, p in enumerate(parts))
    return re.compile(text)
