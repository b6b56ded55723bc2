"""How far work has come: a bar on a terminal, a line now and then elsewhere; and times in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from speechft.core.logging import console, get_logger

FIRST: Final = 10.0
EVERY: Final = 30.0
"""Seconds until the first line of progress, and between lines, where there is no terminal."""

_TELLING: Final = 20
"""Pieces, if not a quarter of all, whose pace says something of the rest."""


class Progress(Protocol):
    """What shows how far work has come, such as rich's `Progress`."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: Any) -> None:
        """Show no more."""

    def add_task(self, description: str, *, total: float, completed: int = 0, note: str) -> Any:
        """Add what is to be done."""

    def update(
        self, task_id: Any, *, completed: float | None = None, note: str | None = None
    ) -> None:
        """Take note of what is done, or of a few words on it."""

    def advance(self, task_id: Any, advance: float = 1) -> None:
        """Take note that this much more is done."""


def progress_bar() -> Progress:
    """Give a progress display: description, bar, count, time gone and left, a free `note` field.

    Where standard error is not a terminal it is a line now and then.
    """
    return _bar() if sys.stderr.isatty() else ProgressLines()


def _bar() -> Progress:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
        console=console(),
        transient=True,
    )


@dataclass
class _Work:
    """How far one piece of work has come, and when it was said last."""

    name: str
    total: float
    begun_with: float
    done: float
    begun: float
    note: str = ""
    said: float = 0.0

    def text(self, now: float) -> str:
        """Say how far it has come, and how long what is left will take at the pace so far."""
        parts = [f"{self.name}: {self.done:,.0f} of {self.total:,.0f}"]
        parts += [self.note] if self.note else []
        gained = self.done - self.begun_with
        if gained >= min(_TELLING, (self.total - self.begun_with) / 4):
            parts.append(
                f"{time_text((now - self.begun) * (self.total - self.done) / gained)} left"
            )
        return ", ".join(parts)


class ProgressLines:
    """Progress for files and other programs: a line after ten seconds, then every thirty, or rarer.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.tasks: list[_Work] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left open."""

    def add_task(self, description: str, *, total: float, completed: int = 0, note: str) -> int:
        """Add what is to be done."""
        now = self._clock()
        self.tasks.append(_Work(description, total, completed, completed, now, note))
        return len(self.tasks) - 1

    def update(
        self, task_id: Any, *, completed: float | None = None, note: str | None = None
    ) -> None:
        """Take note of what is done, and say it if the last line is some time ago."""
        work, now = self.tasks[task_id], self._clock()
        work.done = work.done if completed is None else completed
        work.note = work.note if note is None else note
        apart = max(EVERY, (now - work.begun) / 20)
        due = work.said + apart if work.said else work.begun + FIRST
        if now >= due and work.done < work.total:
            work.said = now
            get_logger("speechft").info("%s", work.text(now))

    def advance(self, task_id: Any, advance: float = 1) -> None:
        """Take note that this much more is done."""
        self.update(task_id, completed=self.tasks[task_id].done + advance)


def time_text(seconds: float) -> str:
    """Say a length of time in words that promise no more than an estimate can: "about 2 min"."""
    if seconds < 60:
        return "less than a minute"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {f'{hours} h ' if hours else ''}{minutes} min"
