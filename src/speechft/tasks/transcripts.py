"""How transcripts are normalised before they are learnt and scored."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

_NO_SPACES: Final = frozenset(
    ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
)


def normalise_text(text: str) -> str:
    """Give the text in upper case, hyphens as spaces, other punctuation removed, spaces single.

    Letters, marks and digits of every script stay, and the apostrophe does.
    """
    composed = unicodedata.normalize("NFC", text).upper().replace("’", "'")
    kept = "".join(" " if _separates(c) else c for c in composed if _separates(c) or _stays(c))
    return " ".join(kept.split())


def unsegmented(symbols: Iterable[str]) -> bool:
    """Tell whether most letters of a vocabulary are of scripts that put no space between words."""
    names = [unicodedata.name(s, "").partition(" ")[0] for s in symbols if s[:1].isalpha()]
    return 2 * sum(name in _NO_SPACES for name in names) > len(names)


def _separates(character: str) -> bool:
    return unicodedata.category(character) in ("Pd", "Zs", "Zl", "Zp", "Cc")


def _stays(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] in "LMN"
