"""What a check of data finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

SHOWN: Final = 5  # examples in a message


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        errors: each makes the data unusable for something; none of them may be left.
        warnings: worth knowing.
        summary: split → utterances, hours, speakers, languages, classes per kind of label.
        unusable: id of a cut whose audio cannot be decoded → its line in `errors`.
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Tell whether there are no errors."""
        return not self.errors


def family_of(split: str) -> tuple[str, str]:
    """Split "sid_train" into ("sid_", "train"): only splits of one family are compared."""
    head, sign, tail = split.rpartition("_")
    return (head + sign, tail) if tail in ("train", "dev", "test") else ("", split)
