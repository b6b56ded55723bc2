"""Words cut out of the synthetic sentences, for keyword spotting.

Words are found by their phonemes: the corpus says when each is spoken, and `sentences.toml`
which ones make a word, in all accents of the synthesiser. The corpus itself stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from speechft.core.errors import DataError
from speechft.core.lengths import SAMPLE_RATE
from speechft.data.cuts import piece
from speechft.data.synthetic.grammar import tables
from speechft.data.utterances import drawn

if TYPE_CHECKING:
    from lhotse.cut import Cut

UNKNOWN: Final = "_unknown_"
SILENCE: Final = "_silence_"
MARGIN: Final = 0.05  # seconds kept on either side of a word
QUIETEST: Final = 0.1  # seconds that a pause must last to be an item
SPLITS: Final = {"train": "ks_train", "dev": "ks_dev", "test": "ks_test"}

Phonemes = list[str]


@dataclass(frozen=True)
class _Item:
    """A piece of an utterance: seconds, and what is heard."""

    cut: Cut
    number: int
    start: float
    end: float
    label: str
    word: str | None


def keyword_splits(data: Mapping[str, Iterable[Cut]]) -> dict[str, list[Cut]]:
    """Cut `ks_train`, `ks_dev` and `ks_test` out of the sentences of `train`, `dev` and `test`.

    Every occurrence of one of ten words is an item (`custom["label"]`). As many other words as a
    keyword has items on average are `_unknown_`, as many pauses at the ends of utterances
    `_silence_`. The new splits share speakers exactly where the old ones do.

    Args:
        data: split → cuts with text and alignment; other splits do not matter.

    Raises:
        DataError: a split holds no keyword.
    """
    result: dict[str, list[Cut]] = {}
    known: set[str] = set()
    for source in [name for name in SPLITS if name in data]:
        words = [item for cut in data[source] for item in _words(cut)]
        own = [item for item in words if item.label != UNKNOWN]
        if source == "train":
            known = {item.label for item in own}
        # A small training split may lack a keyword.
        own = [item for item in own if item.label in known]
        if not own:
            raise DataError(
                f"no keyword is spoken in the split {source!r}",
                expected=", ".join(pronunciations()),
                hint="choose a larger preset",
            )
        count = max(1, round(len(own) / len(known)))
        others = [item for item in words if item.label == UNKNOWN]
        pauses = [item for cut in data[source] for item in _pauses(cut)]
        further = (drawn(of, count, 0, "keywords", source) for of in (others, pauses))
        chosen = [*own, *chain.from_iterable(further)]
        result[SPLITS[source]] = [_piece(item) for item in chosen]
    return result


@cache
def pronunciations(kind: str = "keywords") -> dict[str, list[Phonemes]]:
    """Give word → its pronunciations, of "keywords" (frequent words of commands) or "others"."""
    words = tables()[kind].items()
    return {word: [one.split() for one in spoken.split(" | ")] for word, spoken in words}


def is_synthetic_english(cut: Cut) -> bool:
    """Tell whether a cut is one of the generator's English sentences."""
    own: dict[str, Any] = getattr(cut, "custom", None) or {}
    return bool(own.get("synthetic")) and [s.language for s in cut.supervisions] == ["en"]


def _words(cut: Cut) -> Iterator[_Item]:
    """Give the words of a sentence that the tables know, where they are found without doubt."""
    supervision = cut.supervisions[0]
    phones = (supervision.alignment or {}).get("phone", [])
    symbols = [phone.symbol for phone in phones]
    number, known = 0, pronunciations() | pronunciations("others")
    for word, count in Counter((supervision.text or "").split()).items():
        found = sorted(
            place for variant in known.get(word, ()) for place in _places(symbols, variant)
        )
        if len(found) != count:  # part of another word, or spoken otherwise
            continue
        for first, last in found:
            begin, end = phones[first].start - MARGIN, phones[last].end + MARGIN
            label = word if word in pronunciations() else UNKNOWN
            yield _Item(cut, number, max(0.0, begin), min(cut.duration, end), label, word)
            number += 1


def _pauses(cut: Cut) -> Iterator[_Item]:
    """Give what is heard before the first and behind the last phoneme."""
    phones = (cut.supervisions[0].alignment or {}).get("phone", [])
    if phones:
        ends = [(0.0, phones[0].start), (phones[-1].end, cut.duration)]
        for number, (begin, end) in enumerate(ends):
            if end - begin >= QUIETEST:
                yield _Item(cut, number, begin, end, SILENCE, None)


def _places(symbols: Sequence[str], word: Phonemes) -> Iterator[tuple[int, int]]:
    size = len(word)
    for first in range(len(symbols) - size + 1):
        if symbols[first : first + size] == word:
            yield first, first + size - 1


def _piece(item: _Item) -> Cut:
    """Make the cut of an item, from one sample to another."""
    first, last = round(item.start * SAMPLE_RATE), round(item.end * SAMPLE_RATE)
    name = f"{item.cut.id}-{'pause' if item.word is None else 'word'}-{item.number}"
    cut: Any = piece(item.cut, first, last - first, name)
    label = {"label": item.label, "synthetic": True}
    own = replace(cut.supervisions[0], text=item.word, alignment=None, custom=label)
    changed: Cut = replace(cut, supervisions=[own])
    return changed
