"""Slot tags as people have them: plain names, or IOB, IOBES or BILOU, which become plain names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speechft.core.errors import DataError

if TYPE_CHECKING:
    from lhotse.cut import Cut

OUTSIDE: Final = "O"
_TAG: Final = re.compile(r"([BIESLU])-(.+)")
_SCHEMES: Final = {"IOB": set("BI"), "IOBES": set("BIES"), "BILOU": set("BILU")}
_BEGIN: Final = ("B", "S", "U")
#: Custom fields of cuts that hold pairs of a word and its tag.
FIELDS: Final = ("words_tags", "word_tags")


def scheme_of(tags: Iterable[str]) -> str | None:
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


def without_marks(
    found: Sequence[Sequence[str]], where: Path, notes: list[str]
) -> list[list[str]] | None:
    """Give the tags of all utterances as plain names, and note it; None where they are plain.

    A name is one word, as the marks around a slot's value are: spaces in it become `_`.

    Args:
        found: the tags of each.
        where: they are, for the message.
        notes: gets the scheme.

    Raises:
        DataError: they are of several schemes.
    """
    every = {tag for tags in found for tag in tags}
    spaced = sorted(tag for tag in every if tag != _one_word(tag))
    try:
        scheme = scheme_of(map(_one_word, every))
    except ValueError as error:
        what, hint = "the tags cannot be told", "write all of them in one way, or as plain names"
        raise DataError(what, where=where, found=error, hint=hint) from None
    words = [[*map(_one_word, tags)] for tags in found]
    if spaced:
        notes.append(f"spaces in names of slots become _, as in {_one_word(spaced[0])!r}")
    if scheme is None:
        return words if spaced else None
    plain = [plain_tags(tags) for tags in words]
    joined = sum(more for _, more in plain)
    beside = f"; {joined} slots beside another one of their name are one with it" if joined else ""
    notes.append(f"the tags are {scheme}, and slots are called without its marks{beside}")
    return [names for names, _ in plain]


def name_tags(cuts: Iterable[Cut], where: Path, notes: list[str]) -> None:
    """Put plain names in the place of the tags of cuts that have marks; other values stay.

    Args, Raises: as `without_marks`.
    """
    holders = [held for cut in cuts for held in (cut.custom, *(s.custom for s in cut.supervisions))]
    fields = [(held, name) for held in holders if held for name in FIELDS if _are_pairs(held, name)]
    plain = without_marks([[tag for _, tag in h[name]] for h, name in fields], where, notes)
    for (held, name), tags in zip(fields, plain or (), strict=bool(plain)):
        held[name] = [[word, tag] for (word, _), tag in zip(held[name], tags, strict=True)]


def _one_word(tag: str) -> str:
    return "_".join(tag.split())


def _are_pairs(held: dict[str, Any], name: str) -> bool:
    pairs = held.get(name)
    return isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str) for pair in pairs
    )
