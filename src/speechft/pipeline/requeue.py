"""A job of SLURM's that keeps its state and goes back into the queue, by submitit's own means.

submitit lets SLURM send a signal before the time is up, and when another job takes the place. Its
handler puts the job back into the queue and ends the process at once. Here a training finishes its
update first and keeps the state of that moment, from which the job then goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from speechft.core.stopping import Stopped, ask_to_stop


class Requeued:
    """Something to call, which may be called again in the place of a call that was stopped.

    Args:
        call: goes on, where it is called again, from what it has kept.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    def __call__(self) -> Any:
        """Call it; where the signal comes, stop at a good moment and leave the rest to submitit."""
        from submitit import JobEnvironment

        number = JobEnvironment._usr_sig()
        requeue: Any = signal.getsignal(number)  # submitit's handler

        def note(came: int, frame: FrameType | None) -> None:
            if not ask_to_stop(came):
                requeue(came, frame)

        signal.signal(number, note)
        try:
            return self._call()
        except Stopped as stopped:
            if stopped.exit_code == 128 + number:
                requeue(number, None)
            raise

    def checkpoint(self) -> Any:
        """Give what the job does when it is started again, as submitit asks for it."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
