"""What a fine-tuning takes over from another one that it goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from speechft.core.artifact import content_id, read_record
from speechft.core.errors import CheckpointError, SettingsError

_OWN: Final = {"steps", "epochs", "out", "preset", "keep_at", "continued", "head_warmup"}
"""What a new run says itself: its length, and what follows from that."""


def state_id(run: str) -> str:
    """Give the identity of what a run ends with: its last state.

    Raises:
        CheckpointError: there is none.
    """
    return content_id(_state(run))


def said_by(run: str) -> dict[str, Any]:
    """Give the settings of a run that another goes on with; the head needs no warm-up any more.

    Raises:
        SettingsError: it is no fine-tuning that has ended.
    """
    record = read_record(Path(run)) or {}
    if record.get("stage") != "finetune":
        raise SettingsError(
            "there is no fine-tuning to go on from",
            where=run,
            expected="the folder of one that has ended",
            found=f"what {record['stage']!r} has made" if record else "no speechft.json",
        )
    said: dict[str, Any] = record["settings"]
    # How often dev is scored follows from the length, unless the run was told.
    own = _OWN | ({"evaluate_every"} - set(record.get("depends", ())))
    kept = {name: value for name, value in said.items() if name not in own}
    return {**kept, "head_warmup": 0.0}


def _state(run: str) -> Path:
    from speechft.training.resume_state import FOLDER, last_state

    folder = Path(run) / FOLDER
    state = last_state(folder)
    if state is None:
        raise CheckpointError(
            "the run has no state to go on from",
            where=folder,
            expected="update-N.pt",
            hint=f"its weights alone are in {run}/encoder: give them as --encoder",
        )
    return state
