"""Logging and progress, on standard error, so that standard output stays for results.

rich is imported when something is shown on a terminal: it would take a tenth of a quick merge.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import TYPE_CHECKING

from speechft.core.text import printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


def get_logger(name: str) -> logging.Logger:
    """Give the logger of a module (`name` is its `__name__`)."""
    return logging.getLogger(name)


def set_up_logging(verbosity: int = 0) -> None:
    """Send the package's log to standard error: warnings and stage messages, or everything.

    Args:
        verbosity: -1 warnings only, 0 messages of the stages, 1 debugging.
    """
    level = {-1: logging.WARNING, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    logger = logging.getLogger("speechft")
    logger.setLevel(level)
    if not logger.handlers:
        handler = _handler()
        handler.setFormatter(_Plain())
        logger.addHandler(handler)
        logger.propagate = False


def progress_bar(transient: bool = True) -> Progress:
    """Give a progress display: description, bar, count, time gone and left, a free `note` field.

    It is silent where standard error is not a terminal.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=_console(),
        transient=transient,
        disable=not sys.stderr.isatty(),
    )


@functools.cache
def _console() -> Console:
    """Give the one console that messages and progress share, so that they do not overlap."""
    from rich.console import Console

    return Console(stderr=True)


class _Plain(logging.Formatter):
    """Gives messages whose names, which others chose, cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the message."""
        return printable_lines(super().format(record))


class _Lines(logging.Handler):
    """Writes messages to whatever standard error is at the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


def _handler() -> logging.Handler:
    """Give rich's handler on a terminal; elsewhere whole lines, for files and other programs."""
    if not sys.stderr.isatty():
        return _Lines()
    from rich.logging import RichHandler

    return RichHandler(console=_console(), show_path=False, show_time=False, show_level=False)
