"""Slot tags as people have them: plain names, or IOB, IOBES or BILOU, which become plain names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final

OUTSIDE: Final = "O"
_TAG: Final = re.compile(r"([BIESLU])-(.+)")
_SCHEMES: Final = {"IOB": set("BI"), "IOBES": set("BIES"), "BILOU": set("BILU")}
_BEGIN: Final = ("B", "S", "U")


def scheme_of(tags: Collection[str]) -> str | None:
    """Give the name of the scheme that tags are written in; None for plain names.

    Raises:
        ValueError: some are of a scheme and others not, or of two schemes.
    """
    tags = sorted(set(tags) - {OUTSIDE})
    marked = {tag: match[1] for tag in tags if (match := _TAG.fullmatch(tag))}
    if not {"B", "I"} & set(marked.values()):
        return None
    plain = [tag for tag in tags if tag not in marked]
    if plain:
        raise ValueError(f"some tags have marks, as {min(marked)}, and others none, as {plain[0]}")
    found = set(marked.values())
    for name, marks in _SCHEMES.items():
        if found <= marks:
            return name
    raise ValueError(f"the marks {', '.join(sorted(found))} are of no one scheme")


def plain_tags(tags: Sequence[str]) -> tuple[list[str], int]:
    """Give marked tags as plain names, and how many neighbouring slots of one name become one."""
    pairs = [_TAG.fullmatch(tag) for tag in tags]
    names = [match[2] if match else OUTSIDE for match in pairs]
    joined = sum(
        after is not None and before is not None and after[1] in _BEGIN and after[2] == before[2]
        for before, after in pairwise(pairs)
    )
    return names, joined
