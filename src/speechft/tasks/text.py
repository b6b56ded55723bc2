"""Text as ASR and SF see it: upper case, letters, digits and apostrophes, single spaces."""

from __future__ import annotations

import unicodedata


def normalise_text(text: str) -> str:
    """Give the text in upper case, hyphens as spaces, other punctuation removed, spaces single.

    Letters, marks and digits of every script stay, and the apostrophe does.
    """
    composed = unicodedata.normalize("NFC", text).upper().replace("’", "'")
    kept = "".join(" " if _separates(c) else c for c in composed if _separates(c) or _stays(c))
    return " ".join(kept.split())


def _separates(character: str) -> bool:
    return unicodedata.category(character) in ("Pd", "Zs", "Zl", "Zp", "Cc")


def _stays(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] in "LMN"
