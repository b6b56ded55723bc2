"""Phoneme symbols: eSpeak's mnemonics without stress, reduced to a stable set per language.

English has 47 symbols. Variants that depend on the neighbourhood (flapped, linking, syllabic) are
merged with their phoneme; two mnemonics that stand for two phonemes are split.
"""

from __future__ import annotations

from speechft.data.synthetic.words import split_words

_STRESS = "',%=|"
_MERGED: dict[str, tuple[str, ...]] = {
    "a#": ("@",),
    "@2": ("@",),
    "@5": ("@",),
    "@-": ("@",),
    "@L": ("@", "l"),
    "I2": ("I",),
    "I#": ("I",),
    "i": ("i:",),
    "aa": ("a",),
    "O2": ("O:",),
    "o@": ("O@",),
    "i@3": ("i@",),
    "aI@": ("aI", "@"),
    "aI3": ("aI", "3"),
    "r-": ("r",),
    "n-": ("n",),
    "t#": ("t",),
    "t2": ("t",),
    "?": ("t",),
}
_OTHER_MERGED: dict[str, tuple[str, ...]] = {"R2": ("r",), "UR": ("U", "R"), "oI": ("o", "i")}
ENGLISH: tuple[str, ...] = split_words(
    "n t d I s D @ l a k r E m f w z 0 p aI b eI i: 3 V v oU h u: g O@ dZ tS 3: j U N S T O: A@ aU "
    "e@ A: OI Z i@ U@"
)


def normalise(mnemonic: str, language: str = "en") -> tuple[str, ...]:
    """Give the phonemes that an event of eSpeak stands for; pauses and modifiers give none."""
    symbol = mnemonic.strip(_STRESS)
    if not symbol or symbol.startswith("_") or symbol == ";":
        return ()
    merged = _MERGED if language == "en" else _OTHER_MERGED
    return merged.get(symbol, (symbol,))
