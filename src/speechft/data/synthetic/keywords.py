"""Words cut out of the synthetic sentences, for keyword spotting.

Words are found by their phonemes: the corpus says when each is spoken, and the table below which
ones make a word, in all accents of the synthesiser. The corpus itself stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from lhotse.cut import Cut

from speechft.core.errors import DataError
from speechft.core.seeding import numpy_generator
from speechft.data.synthetic.effects import RATE
from speechft.data.synthetic.words import split_words

UNKNOWN: Final = "_unknown_"
SILENCE: Final = "_silence_"
MARGIN: Final = 0.05  # seconds kept on either side of a word
QUIETEST: Final = 0.1  # seconds that a pause must last to be an item
SPLITS: Final = {"train": "ks_train", "dev": "ks_dev", "test": "ks_test"}

Phonemes = tuple[str, ...]


def _spoken(*variants: str) -> tuple[Phonemes, ...]:
    return tuple(split_words(variant) for variant in variants)


# Ten frequent words of the commands.
KEYWORDS: Final[dict[str, tuple[Phonemes, ...]]] = {
    "please": _spoken("p l i: z"),
    "want": _spoken("w 0 n t", "w O: n t"),
    "percent": _spoken("p 3 s E n t"),
    "before": _spoken("b I f O@"),
    "switch": _spoken("s w I tS"),
    "turn": _spoken("t 3: n"),
    "quarter": _spoken("k w O@ t 3", "k w O@ t @"),
    "saturday": _spoken("s a t 3 d eI"),
    "today": _spoken("t @ d eI"),
    "kitchen": _spoken("k I tS @ n"),
}
# Words that are none of them, some of them alike.
OTHERS: Final[dict[str, tuple[Phonemes, ...]]] = {
    "set": _spoken("s E t"),
    "ten": _spoken("t E n"),
    "five": _spoken("f aI v"),
    "six": _spoken("s I k s"),
    "nine": _spoken("n aI n"),
    "noon": _spoken("n u: n"),
    "half": _spoken("h a f", "h A: f"),
    "sunday": _spoken("s V n d eI"),
    "monday": _spoken("m V n d eI"),
    "wednesday": _spoken("w E n z d eI"),
    "thursday": _spoken("T 3: z d eI"),
    "friday": _spoken("f r aI d eI"),
    "tomorrow": _spoken("t @ m A: r oU", "t @ m 0 r oU"),
    "tonight": _spoken("t @ n aI t"),
    "bedroom": _spoken("b E d r u: m"),
    "bathroom": _spoken("b a T r u: m"),
    "cellar": _spoken("s E l @", "s E l 3"),
    "attic": _spoken("a t I k"),
    "office": _spoken("0 f I s"),
    "garage": _spoken("g a r I dZ", "g 3 r A: Z"),
    "minutes": _spoken("m I n I t s"),
    "message": _spoken("m E s I dZ"),
    "train": _spoken("t r eI n"),
    "wake": _spoken("w eI k"),
    "meeting": _spoken("m i: t I N"),
    "list": _spoken("l I s t"),
    "ready": _spoken("r E d i:"),
    "book": _spoken("b U k"),
    "start": _spoken("s t A@ t"),
    "stop": _spoken("s t 0 p"),
}


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
        keywords = [item for item in words if item.word in KEYWORDS]
        if source == "train":
            known = {item.label for item in keywords}
        # A small training split may lack a keyword.
        keywords = [item for item in keywords if item.label in known]
        if not keywords:
            raise DataError(
                f"no keyword is spoken in the split {source!r}",
                expected=", ".join(KEYWORDS),
                hint="choose a larger preset",
            )
        count = max(1, round(len(keywords) / len(known)))
        others = [item for item in words if item.word in OTHERS]
        pauses = [item for cut in data[source] for item in _pauses(cut)]
        chosen = [*keywords, *_draw(others, count, source), *_draw(pauses, count, source)]
        result[SPLITS[source]] = [_piece(item) for item in chosen]
    return result


def is_synthetic_english(cut: Cut) -> bool:
    """Tell whether a cut is one of the generator's English sentences."""
    own: dict[str, Any] = getattr(cut, "custom", None) or {}
    return bool(own.get("synthetic")) and [s.language for s in cut.supervisions] == ["en"]


def _words(cut: Cut) -> Iterator[_Item]:
    """Give the words of a sentence that the tables know, where they are found without doubt."""
    supervision = cut.supervisions[0]
    phones = (supervision.alignment or {}).get("phone", [])
    symbols = [phone.symbol for phone in phones]
    number = 0
    for word, count in Counter((supervision.text or "").split()).items():
        variants = KEYWORDS.get(word) or OTHERS.get(word) or ()
        found = sorted(place for variant in variants for place in _places(symbols, variant))
        if len(found) != count:  # part of another word, or spoken otherwise
            continue
        for first, last in found:
            begin, end = phones[first].start - MARGIN, phones[last].end + MARGIN
            label = word if word in KEYWORDS else UNKNOWN
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
        if tuple(symbols[first : first + size]) == word:
            yield first, first + size - 1


def _draw(items: Sequence[_Item], count: int, split: str) -> list[_Item]:
    """Draw some items, in their order; the draw depends on the split's name alone."""
    order = numpy_generator(0, "keywords", split).permutation(len(items))[:count]
    return [items[i] for i in sorted(order.tolist())]


def _piece(item: _Item) -> Cut:
    """Make the cut of an item, from one sample to another."""
    first, last = round(item.start * RATE), round(item.end * RATE)
    kind = "pause" if item.word is None else "word"
    name, duration = f"{item.cut.id}-{kind}-{item.number}", (last - first) / RATE
    supervision = item.cut.supervisions[0]
    own: Any = replace(
        supervision,
        id=name,
        start=0.0,
        duration=duration,
        text=item.word,
        alignment=None,
        custom={"label": item.label, "synthetic": True},
    )
    changed: dict[str, Any] = {"start": item.cut.start + first / RATE, "duration": duration}
    return replace(item.cut, id=name, supervisions=[own], **changed)
