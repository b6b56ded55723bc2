"""Ctrl-C and SIGTERM while something runs that can be gone on with: it stops at a good moment."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_STOPPING: Final = "\nStopping after this update; Ctrl-C once more stops at once.\n"


class Stopped(KeyboardInterrupt):
    """Work was stopped by a signal, and what is needed to go on with it has been kept.

    Args:
        kept: a sentence without a final full stop that says what.
        signal_number: which signal it was.
    """

    def __init__(self, kept: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(kept)
        self.kept = kept
        self.exit_code = 128 + signal_number


class StopRequest:
    """Notes Ctrl-C and SIGTERM while the block runs, which looks at `signal_number` now and then.

    A second Ctrl-C stops at once. Python gives signals to the main thread alone: in any other
    nothing is noted.

    Attributes:
        signal_number: of the signal that came; 0 while there was none.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._note) for one in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal_number and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.signal_number:
            with suppress(OSError, ValueError, RuntimeError):  # a message may be half written
                sys.stderr.write(_STOPPING)
                sys.stderr.flush()
        self.signal_number = number
