"""Slot-filling metrics on transcripts with slot markers: `B-city NEW YORK E-city`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from speechft.core.errors import DataError
from speechft.metrics.measures import edits

Slots = list[tuple[str, str]]

_SPAN = re.compile(r"(?<!\S)B-(\S+) (.+?) E-\1(?!\S)")
_MARKER = re.compile(r"(?<!\S)[BE]-\S+")
# S3PRL's expressions have no borders.
_LOOSE_SPAN = re.compile(r"B-(\S+) (.+?) E-\1")
_LOOSE_MARKERS = (re.compile(r"B-\S+ "), re.compile(r" E-\S+"))


def parse_slots(text: str) -> Slots:
    """Give the (type, value) pairs of a marked transcript, in order.

    A span runs from `B-x` to the nearest `E-x` of the same type; markers that stray inside a value
    are removed from it. Markers without a partner, or with nothing between them, count for nothing.

    Args:
        text: words and markers.
    """
    spans = _SPAN.finditer(" ".join(text.split()))
    return [(match[1], " ".join(_MARKER.sub(" ", match[2]).split())) for match in spans]


def parse_slots_loosely(text: str, *, cleaned: bool = True) -> Slots:
    """Give the (type, value) pairs of a marked transcript as S3PRL does.

    A marker that only begins like `E-x` ends a span. Of the markers that stray inside a value,
    an `E-y` that begins it and a `B-y` that ends it stay part of it.

    Args:
        text: words and markers.
        cleaned: remove the other markers from values; S3PRL does so in hypotheses alone.

    Source:
        SUPERB's SF on Audio SNIPS, as scored by S3PRL 0.4.
    """
    slots: Slots = []
    for match in _LOOSE_SPAN.finditer(" ".join(text.split())):
        value = match[2]
        for marker in _LOOSE_MARKERS * cleaned:
            value = marker.sub("", value)
        slots.append((match[1], value))
    return slots


def slots_of(reference: str, guess: str, *, as_s3prl: bool = False) -> tuple[Slots, Slots]:
    """Give the (type, value) pairs of a reference and of a guess.

    Args:
        reference: marked transcript.
        guess: marked transcript that is compared with it.
        as_s3prl: read each as S3PRL does.
    """
    if as_s3prl:
        return parse_slots_loosely(reference, cleaned=False), parse_slots_loosely(guess)
    return parse_slots(reference), parse_slots(guess)


def slot_type_f1(references: Sequence[Slots], hypotheses: Sequence[Slots]) -> float:
    """Give the mean over utterances of the F1 of the *set* of slot types, in percent.

    Two empty sets score 1, one empty set scores 0.

    Raises:
        DataError: the lists are empty.
    """
    if not references:
        raise DataError("slot-type F1 needs at least one utterance", found="an empty split")
    total = sum(type_f1(r, h) for r, h in zip(references, hypotheses, strict=True))
    return 100.0 * total / len(references)


def type_f1(reference: Slots, hypothesis: Slots) -> float:
    """Give one utterance's F1 of the set of slot types, from 0 to 1."""
    wanted, got = {kind for kind, _ in reference}, {kind for kind, _ in hypothesis}
    return 2 * len(wanted & got) / (len(wanted) + len(got)) if wanted or got else 1.0


def slot_value_cer(references: Sequence[Slots], hypotheses: Sequence[Slots]) -> float:
    """Give the character error rate of slot values, in percent.

    Every reference slot is compared with the hypothesis value of its type that fits best, or with
    nothing where the type is missing; spurious slots cost nothing. Edits and reference characters
    are summed over all utterances.

    Raises:
        DataError: no reference holds a slot value.
    """
    found = [value_errors(r, h) for r, h in zip(references, hypotheses, strict=True)]
    wrong, length = (sum(one[part] for one in found) for part in (0, 1))
    if not length:
        raise DataError(
            "slot-value CER needs at least one slot in the references",
            found=f"{len(references)} utterances without slots",
        )
    return 100.0 * wrong / length


def value_errors(reference: Slots, hypothesis: Slots) -> tuple[int, int]:
    """Give one utterance's edits of slot values, and their characters in the reference."""
    wrong = 0
    for kind, value in reference:
        candidates = [v for k, v in hypothesis if k == kind] or [""]
        wrong += min(edits([value] * len(candidates), candidates))
    return wrong, sum(len(value) for _, value in reference)
