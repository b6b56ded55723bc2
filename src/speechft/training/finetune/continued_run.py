"""What a fine-tuning takes over from another one that it goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from speechft.core.artifact import content_id, read_object, read_record
from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.paths import first_of

if TYPE_CHECKING:
    from speechft.tasks import Task

_OWN: Final = {"steps", "epochs", "out", "preset", "keep_at", "continued", "head_warmup"}
"""What a new run says itself: its length, and what follows from that."""
ADAPTERS: Final = ("lora", "dora")
_OF_WEIGHTS: Final[tuple[str, ...]] = ("encoder", "context")
_OF_UNITS: Final = ("seed", *(f"rehearsal_{n}" for n in ("data", "seconds", "layer", "clusters")))


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


def refuse_other_weights(run: str, depends: Mapping[str, Any]) -> None:
    """Refuse settings by which the run's weights would stand for another encoder, or for none.

    The factors of adapters mean what their scale makes of them; penalties hold on to the run's θ0.

    Args:
        run: that another goes on from.
        depends: what the new one depends on.

    Raises:
        SettingsError: θ0 or its adapters have changed.
    """
    before, names = _before(run), _OF_WEIGHTS
    if any(str(of.get("method")) in ADAPTERS for of in (before, depends)):
        names += ("method", *sorted(n for n in {*before, *depends} if n.startswith("adapter_")))
    what = "the run's weights do not fit these settings"
    _refuse_changed(what, run, depends, names, ", without --continue")


def refuse_other_units(run: str, depends: Mapping[str, Any]) -> None:
    """Refuse to rehearse other units than those that the run's predictor stands for.

    Args:
        run: that another goes on from.
        depends: what the new one depends on.

    Raises:
        SettingsError: something that makes the units has changed.
    """
    what = "the units that are rehearsed would be other ones than those of the run's predictor"
    _refuse_changed(what, run, depends, _OF_UNITS)


def _before(run: str) -> dict[str, Any]:
    """Give what a run depended on."""
    found: dict[str, Any] = (read_record(Path(run)) or {}).get("depends", {})
    return found


def _refuse_changed(
    what: str, run: str, depends: Mapping[str, Any], names: Sequence[str], how: str = ""
) -> None:
    before = _before(run)
    changed = [name for name in names if _plain(before, name) != _plain(depends, name)]
    if changed:
        raise SettingsError(
            what,
            where=run,
            expected=f"{' and '.join(changed)} as there",
            hint=f"leave that out, or give {run}/encoder as --encoder{how}",
        )


def _plain(values: Mapping[str, Any], name: str) -> Any:
    value = values.get(name)
    return list(value) if isinstance(value, tuple) else value


def refuse_other_classes(task: Task, run: Path, file: str) -> None:
    """Refuse a head that stands for other classes or symbols, though for as many.

    Args:
        task: of the new run.
        run: whose head is taken over.
        file: in its folder, that says what the head's outputs stand for.

    Raises:
        CheckpointError: it does.
    """
    before, now = read_object(run / file), json.loads(json.dumps(task.to_dict()))
    old, new = (_names((said or now).get(task.fixed[0])) for said in (before, now))
    if old != new:
        raise CheckpointError(
            "the head of the other run is for other classes",
            where=run / file,
            expected=first_of([name for name in old if name not in new] or old),
            found=first_of([name for name in new if name not in old] or new),
            hint=f"give {run}/encoder as --encoder: a new head begins",
        )


def _names(fixed: Any) -> list[str]:
    """Give what a head's outputs are called; nothing where they are numbers."""
    if isinstance(fixed, Mapping):
        return [f"{group} {name}" for group, names in fixed.items() for name in names]
    return [name for name in fixed if isinstance(name, str)] if isinstance(fixed, list) else []


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
