"""Logging and progress, on standard error, so that standard output stays for results."""

from __future__ import annotations

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


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
        handler = RichHandler(console=console, show_path=False, show_time=False, show_level=False)
        logger.addHandler(handler)
        logger.propagate = False


def progress_bar(transient: bool = True) -> Progress:
    """Give a progress display: description, bar, count, time gone and left, a free `note` field.

    It is silent where standard error is not a terminal.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=transient,
        disable=not sys.stderr.isatty(),
    )
