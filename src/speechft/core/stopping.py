"""How work stops: at Ctrl-C and SIGTERM, and in threads where an error ends it.

What can be gone on with stops at a good moment, all else at once.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_ONE_PRESS: Final = 0.3
"""Seconds in which a second Ctrl-C is the first one, passed on by who started this process."""
_STOPPING: Final = "\nStopping after this update; Ctrl-C once more stops at once.\n"
_AT_ONCE: Final = "\nStopped at once. The same command goes on from what was kept before.\n"


class Stopped(KeyboardInterrupt):
    """Work was stopped by a signal, and what is needed to go on with it has been kept.

    Args:
        kept: a sentence without a final full stop that says what; none where nobody knows.
        signal_number: which signal it was.
    """

    def __init__(self, kept: str = "", signal_number: int = signal.SIGINT) -> None:
        super().__init__(kept)
        self.kept = kept
        self.exit_code = 128 + signal_number


class StopRequest:
    """Notes Ctrl-C and SIGTERM while the block runs, which looks at `signal_number` now and then.

    Python gives signals to the main thread alone: in any other nothing is noted. A signal that this
    process is to ignore stays ignored, but for a command. Blocks may lie in each other; the inner
    one notes.

    Args:
        command: the block is a whole command: the first signal raises `Stopped` in it, unless a
            block inside notes it, and Ctrl-C once more ends the process at once. SIGTERM once
            more does not, since clusters send it twice.

    Attributes:
        signal_number: of the signal that came; 0 while there was none.
    """

    _current: ClassVar[StopRequest | None] = None

    def __init__(self, *, command: bool = False) -> None:
        self.signal_number = 0
        self._command, self._came = command, 0.0
        self._before: dict[signal.Signals, Any] = {}
        self._outer: StopRequest | None = None

    def __enter__(self) -> StopRequest:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._outer, StopRequest._current = StopRequest._current, self
            for one in _SIGNALS:
                if self._command or signal.getsignal(one) != signal.SIG_IGN:
                    self._before[one] = signal.signal(one, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back; who ends for a signal is not told of it again."""
        if StopRequest._current is self:
            StopRequest._current = outer = self._outer
            if outer is not None and self.signal_number:
                outer.signal_number, outer._came = self.signal_number, self._came
        for one, handler in self._before.items():
            signal.signal(one, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        first, now = not self.signal_number, time.monotonic()
        if first:
            self.signal_number, self._came = number, now
            if self._command:
                raise Stopped("", number)
            _say(_STOPPING)
        elif number == signal.SIGINT and now - self._came > _ONE_PRESS:
            if self._command or self._outer is not None:
                _say(_AT_ONCE)
                os._exit(128 + number)  # no thread is waited for; workers end with their parent
            raise KeyboardInterrupt


def ask_to_stop(number: int) -> bool:
    """Stop work as a signal of this number would; say whether any looks for one now."""
    current = StopRequest._current
    if current is not None:
        current._note(number, None)
    return current is not None


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") != "0":  # of several that train together one says it
        return
    with suppress(OSError, ValueError, RuntimeError):  # a message may be half written
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def threads(
    count: int, name: str = "", first: Callable[[], None] | None = None
) -> Iterator[ThreadPoolExecutor]:
    """Give threads for the block; all that they were given is done at its end, unless it fails.

    Args:
        count: how many.
        name: of each, as far as it is the same.
        first: what each calls before its work.
    """
    with ThreadPoolExecutor(count, thread_name_prefix=name, initializer=first) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
