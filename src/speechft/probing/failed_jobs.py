"""Jobs that failed, and the one error that tells of them when all the others are done."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechft.core.errors import SpeechFTError, error_of
from speechft.core.logging import get_logger

_SHOWN = 8
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        encoder: label.
        task: id; empty where the encoder as a whole failed.
        seed: of the probe.
        error: a `SpeechFTError` as plain values, or `{"crash": traceback}`.
    """

    encoder: str
    task: str
    seed: int | None
    error: dict[str, Any]

    @property
    def name(self) -> str:
        """Encoder, task and seed."""
        seed = "" if self.seed is None else f"seed {self.seed}"
        return f"{self.encoder} {self.task} {seed}".strip()

    @property
    def reason(self) -> str:
        """One line."""
        if "crash" in self.error:
            return str(self.error["crash"]).strip().rpartition("\n")[2]
        where = f" ({self.error['where']})" if self.error.get("where") else ""
        return f"{self.error['what']}{where}"


def reported(
    error: BaseException, encoder: str, task: str = "", seed: int | None = None
) -> Failure:
    """Describe what went wrong in a job, and say in the log that the rest goes on."""
    if isinstance(error, SpeechFTError):
        values = error.to_dict()
    else:
        values = {"crash": "".join(traceback.format_exception(error))}
    found = Failure(encoder, task, seed, values)
    _logger.error("evaluate: %s failed, the rest goes on: %s", found.name, found.reason)
    return found


def raise_failures(failures: Sequence[Failure], jobs: int) -> None:
    """Raise one error for all failed jobs.

    Args:
        failures: of the jobs, one at least.
        jobs: how many there were.

    Raises:
        SpeechFTError: the user's mistake, or the first of several with a list of all.
        RuntimeError: the first job that ended otherwise, if no job shows a user's mistake.
    """
    known = [f for f in failures if "crash" not in f.error]
    few = [f"    {f.name}: {f.reason}" for f in failures[:_SHOWN]]
    few += [f"    and {len(failures) - _SHOWN} more"] * (len(failures) > _SHOWN)
    done = "what the others found is kept"
    listed = f"{len(failures)} of {jobs} jobs failed; {done}:\n" + "\n".join(few)
    if not known:
        crash = str(failures[0].error["crash"])
        raise RuntimeError(crash if len(failures) == 1 else f"{listed}\n\nThe first one:\n{crash}")
    first = dict(known[0].error)
    if len(failures) > 1:
        first["what"] = listed
        first["hint"] = first["hint"] or (
            "mend this; the same command then does only what is missing"
        )
    raise error_of(first)
