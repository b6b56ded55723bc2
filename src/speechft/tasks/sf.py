"""SF: slot filling, a transcript with slot markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, ClassVar

from speechft.core.errors import DataError
from speechft.data.cuts import said_cut
from speechft.metrics.slots import Slots, slot_type_f1, slot_value_cer, slots_of
from speechft.tasks.base import TASKS, ProtocolName, custom, missing
from speechft.tasks.ctc import CTCTask
from speechft.tasks.probe_plan import PublishedPlan
from speechft.tasks.transcripts import normalise_text

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor

OUTSIDE = "O"
SPACE = " "
_SKIPPED = "?!.,;-"  # S3PRL leaves out a word that is a part of this


@TASKS.register("sf")
class SlotFilling(CTCTask):
    """Characters with a marker `B-slot` before and `E-slot` after every slot value, by CTC.

    `custom["word_tags"]` holds one [word, slot or "O"] per word; equal neighbours form one value.
    """

    id: ClassVar[str] = "sf"
    title: ClassVar[str] = "slot filling"
    metrics: ClassVar[tuple[str, ...]] = ("slot_type_f1", "slot_value_cer")
    ending: ClassVar[tuple[str, ...]] = ("<eos>",)
    published: ClassVar[PublishedPlan | None] = PublishedPlan("window", 32, 1, 1, 100)
    corpora: ClassVar[tuple[str, ...]] = ("snips",)
    official_items: ClassVar[int | None] = 2800  # Audio SNIPS
    revisions: ClassVar[Mapping[ProtocolName, int]] = {"clean": 1, "s3prl": 2}

    def symbols(self, cut: Cut) -> list[str]:
        """Give characters and markers of a cut."""
        if self.protocol == "s3prl":
            return _published_symbols(self._tagged(cut))
        result: list[str] = []
        previous = OUTSIDE
        for word, tag in self._words(cut):
            if previous not in (OUTSIDE, tag):
                result.append(f"E-{previous}")
            if result:
                result.append(SPACE)
            if tag not in (OUTSIDE, previous):
                result.append(f"B-{tag}")
            result += word
            previous = tag
        if previous != OUTSIDE:
            result.append(f"E-{previous}")
        return result

    def published_symbols(self, found: Set[str]) -> list[str]:
        """Give end, space, letters, apostrophe, then both marks of every slot of the training data.

        With the 39 slots of Audio SNIPS these are 109 with blank and unknown.
        """
        slots = sorted({symbol[2:] for symbol in found if len(symbol) > 1})
        marks = [f"{side}-{slot}" for slot in slots for side in "BE"]
        return ["<eos>", SPACE, *ascii_uppercase, "'", *marks]

    def assemble(self, symbols: list[str]) -> str:
        """Give the marked transcript: `FLY TO B-city NEW YORK E-city`.

        Spaces are around every marker; S3PRL puts them inside alone.
        """
        sides = ("{} ", " {}") if self.protocol == "s3prl" else (" {} ", " {} ")
        marks = dict(zip(("B-", "E-"), sides, strict=True))
        spaced = [marks.get(s[:2], "{}").format(s) for s in symbols]
        return " ".join("".join(spaced).split())

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give slot-type F1 and slot-value CER."""
        pairs = [self._slots(*pair) for pair in zip(references, predictions, strict=True)]
        wanted, got = [r for r, _ in pairs], [p for _, p in pairs]
        return {
            "slot_type_f1": slot_type_f1(wanted, got),
            "slot_value_cer": slot_value_cer(wanted, got),
        }

    def present(self, logits: Tensor) -> dict[str, Any]:
        """Give the marked transcript, and slots and values of their own."""
        found = super().present(logits)
        return {**found, "slots": [list(pair) for pair in self._slots("", found["text"])[1]]}

    def ends(self, cut: Cut) -> bool:
        """S3PRL forgets the end of a sentence whose last word is punctuation."""
        words = self._tagged(cut)
        return bool(words) and words[-1][0] not in _SKIPPED

    def _slots(self, reference: str, guess: str) -> tuple[Slots, Slots]:
        return slots_of(reference, guess, as_s3prl=self.protocol == "s3prl")

    def _words(self, cut: Cut) -> list[tuple[str, str]]:
        words = [(normalise_text(word), tag) for word, tag in self._tagged(cut)]
        return [(word, tag) for word, tag in words if word]

    def _tagged(self, cut: Cut) -> list[tuple[str, str]]:
        tagged = custom(cut, "word_tags", "words_tags")
        if tagged is None:
            names = ["the column `tags` of a table", "`word_tags` of cuts"]
            raise missing(cut, "words with slot tags", self.id, names)
        try:
            pairs = [(str(word), tag) for word, tag in tagged]
            if not all(isinstance(tag, str) and tag for _, tag in pairs):
                raise ValueError("a tag is no name")
            return pairs
        except (TypeError, ValueError):
            raise DataError(
                "cannot read the words and slot tags",
                where=said_cut(cut),
                expected='a list of [word, slot or "O"]',
                found=repr(tagged)[:80],
            ) from None


def _published_symbols(tagged: Sequence[tuple[str, str]]) -> list[str]:
    """Spell as S3PRL does: punctuation goes, and with it a mark that stands at it, but not a space.

    A slot begins at a word whose left neighbour has another tag and ends at one whose right
    neighbour does; such a word that is left out takes the mark with it.
    """
    tags = [OUTSIDE, *(tag for _, tag in tagged), OUTSIDE]
    result: list[str] = []
    for place, (word, tag) in enumerate(tagged, start=1):
        if word in _SKIPPED:
            continue
        if tag not in (OUTSIDE, tags[place - 1]):
            result.append(f"B-{tag}")
        result += "AND" if word == "&" else word.upper()
        if tag not in (OUTSIDE, tags[place + 1]):
            result.append(f"E-{tag}")
        if place < len(tagged):
            result.append(SPACE)
    return result
