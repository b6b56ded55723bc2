"""Reading labels off cuts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lhotse.cut import Cut
from lhotse.supervision import SupervisionSegment

from speechft.core.errors import DataError


def supervision(cut: Cut) -> SupervisionSegment:
    """Give the one supervision of a cut.

    Raises:
        DataError: the cut has none, or several.
    """
    if len(cut.supervisions) != 1:
        raise DataError(
            "an utterance needs exactly one supervision",
            where=f"cut {cut.id}",
            expected=1,
            found=len(cut.supervisions),
        )
    return cut.supervisions[0]


def custom(cut: Cut, *names: str) -> Any:
    """Give the first custom field that the cut's supervision, or the cut itself, has; else None."""
    for holder in (supervision(cut).custom, getattr(cut, "custom", None)):
        for name in names:
            value = (holder or {}).get(name)
            if value is not None:
                return value
    return None


def missing(cut: Cut, what: str, task: str, names: Iterable[str]) -> DataError:
    """Give the error that says that a cut lacks what a task needs."""
    held = sorted({**(getattr(cut, "custom", None) or {}), **(supervision(cut).custom or {})})
    held += [name for name in ("text", "speaker") if getattr(supervision(cut), name)]
    return DataError(
        f"the task {task!r} needs {what}",
        where=f"cut {cut.id}",
        expected=" or ".join(names),
        found=", ".join(held) or "no labels",
        hint="add it to the data, or leave the task out",
    )
