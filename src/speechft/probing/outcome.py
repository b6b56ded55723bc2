"""What comes of an encoder's jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from speechft.core.logging import get_logger
from speechft.hidden.encoding import Passes
from speechft.probing.failures import Failure, failure

_logger = get_logger(__name__)


@dataclass
class Outcome:
    """What came of an encoder's jobs.

    Attributes:
        keys: of its finished cells, in the order of tasks and seeds.
        failures: of the others.
        passes: how many utterances the encoder read, and how long their audio is.
        seconds: that encoding took.
    """

    keys: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "keys": self.keys,
            "failures": [f.to_dict() for f in self.failures],
            "utterances": self.passes.utterances,
            "audio_seconds": self.passes.audio_seconds,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Outcome:
        """Take what `to_dict` gave."""
        failures = [Failure(**f) for f in values["failures"]]
        passes = Passes(values["utterances"], values["audio_seconds"])
        return cls(list(values["keys"]), failures, passes, values["seconds"])

    @property
    def encoding(self) -> dict[str, Any]:
        """What the encoder read, for `timing.json`."""
        return {
            "encoder_passes": self.passes.utterances,
            "audio_seconds": round(self.passes.audio_seconds, 2),
            "seconds": round(self.seconds, 2),
        }


def reported(
    error: BaseException, encoder: str, task: str = "", seed: int | None = None
) -> Failure:
    """Give a failed job's failure, and say in the log that the rest goes on."""
    found = failure(error, encoder, task, seed)
    _logger.error("evaluate: %s failed, the rest goes on: %s", found.name, found.reason)
    return found
