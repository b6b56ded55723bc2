"""Probes that have hardly learned: their figures tell of the probe, not of the encoder.

A head that CTC trains gives hardly any symbols at first, and leaves this plateau at some update by
chance of the seed. Where its plan ends before, the answers are far too short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

ANSWERED: Final = "answered"  # of a record: symbols predicted, as a share of those that were said
LITTLE: Final = 0.5
"""Below this share of symbols a probe has hardly learned, and its record says the share."""


def hardly_learned_text(setting: str = "normalize") -> str:
    """Give what is said behind the name of such a probe; `setting` normalizes hidden states."""
    return (
        "answers with less than half of the symbols that were said, as a CTC head does before it "
        "has learned: the figure tells how soon a probe learns rather than what the encoder knows. "
        f"More updates, or normalized hidden states (--set {setting}=true), tell more."
    )


HARDLY_LEARNED: Final = hardly_learned_text()


def answers_little(answered: float | None) -> bool:
    """Tell whether that share of the symbols is little; what is none is no sequence of symbols."""
    return answered is not None and answered < LITTLE


def note_of(answered: float | None) -> dict[str, float]:
    """Give what a record says of a probe: nothing of one that answers at length."""
    if answered is None or not answers_little(answered):
        return {}
    return {ANSWERED: round(answered, 3)}


def has_hardly_learned(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is of a probe that has hardly learned: only those say a share."""
    return isinstance(record.get(ANSWERED), int | float)


def by_task(probes: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Give task → encoders of (task, encoder), each once, in their order."""
    found: dict[str, list[str]] = {}
    for task, encoder in dict.fromkeys(probes):
        found.setdefault(task, []).append(encoder)
    return found
