"""Logging and progress, on standard error, so that standard output stays for results.

rich is imported when something is shown on a terminal: it would take a tenth of a quick merge.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import TYPE_CHECKING

from speechft.core.escaping import printable_lines

if TYPE_CHECKING:
    from rich.console import Console


def get_logger(name: str) -> logging.Logger:
    """Give the logger of a module (`name` is its `__name__`)."""
    return logging.getLogger(name)


@functools.lru_cache(maxsize=1024)
def say_once(text: str) -> None:
    """Say what is worth knowing, of data for one; a command may find it many times."""
    get_logger(__name__).info("%s", text)


def quieten_kernels() -> None:
    """Keep bitsandbytes from warning of kernels that nothing here uses, when it is imported."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


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


@functools.cache
def console() -> Console:
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

    return RichHandler(console=console(), show_path=False, show_time=False, show_level=False)
