"""What is done: one small file per step, written before it begins and after it ends."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from speechft.core.errors import SettingsError
from speechft.core.files import read_json, remove_leftovers, write_json
from speechft.core.logging import get_logger
from speechft.pipeline.recipe.keys import portable, result_values
from speechft.pipeline.recipe.steps import Plan, Step

log = get_logger(__name__)

STEPS = ".steps"
LOCK = ".lock"
_CONTENT = "what is in "
Status = Literal["to do", "resume", "done", "redo"]


def status(plan: Plan, step: Step) -> Status:
    """Tell where a step stands: done, begun, to do, or made with other settings, data, parents."""
    record = _record(plan, step)
    if record is None:
        return "to do"
    if record.get("key") != step.key or record.get("packaged", plan.packaged) != plan.packaged:
        return "redo"
    if _changed_data(plan, record):
        return "redo"
    return "done" if record.get("state") == "done" and step.product.exists() else "resume"


def changes(plan: Plan, step: Step) -> list[str]:
    """Say what differs: settings, data, and a packaged encoder that another version replaced."""
    record = _record(plan, step) or {}
    before, now = _flat(record.get("settings", {})), _flat(_plain(plan, step))
    if "packaged" in record:
        before["packaged encoder"] = record["packaged"][:12]
        now["packaged encoder"] = plan.packaged[:12]
    for spec, (old, new) in _changed_data(plan, record).items():
        before[_CONTENT + spec], now[_CONTENT + spec] = old[:12], new[:12]
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name}: {before.get(name)!r} → {now.get(name)!r}" for name in names]


def refusals(plan: Plan) -> dict[str, list[str]]:
    """Give the finished costly steps that are not replaced unasked: name → what differs."""
    found: dict[str, list[str]] = {}
    for step in plan.steps:
        record = _record(plan, step)
        if step.costly and status(plan, step) == "redo" and (record or {}).get("state") == "done":
            differing = changes(plan, step)
            if differing:
                found[step.name] = differing
    return found


def check_redo(plan: Plan) -> None:
    """Refuse to throw away costly results because a setting or the data was changed.

    Raises:
        SettingsError: names the step and what was changed.
    """
    refused = refusals(plan)
    for step in [step for step in plan.steps if step.name in refused][:1]:
        what = "data" if all(c.startswith(_CONTENT) for c in refused[step.name]) else "settings"
        raise SettingsError(
            f"the folder holds a finished {step.verb} with other {what}",
            where=step.folder,
            found="; ".join(refused[step.name][:4]),
            hint="choose another --out, or add --redo to replace it",
        )


def begin(plan: Plan, step: Step) -> None:
    """Note that a step begins; what another key has left in its folder is removed."""
    if status(plan, step) == "redo" and step.verb != "report":
        log.info("%s: made with other settings, so it is done again", step.name)
        _clear(step)
    _write(plan, step, "begun")


def end(plan: Plan, step: Step) -> None:
    """Note that a step has ended."""
    _write(plan, step, "done")


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Keep a second process out of the run's folder; a killed process leaves no lock behind.

    Raises:
        SettingsError: another process is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                "another speechft is at work in this folder",
                where=out,
                hint="wait for it, or choose another --out",
            ) from None
        remove_leftovers(out)  # the lock is ours, so nobody writes here
        yield


def _clear(step: Step) -> None:
    """Empty a step's folder; finished cells of an evaluation are kept, they carry their own key."""
    if not step.folder.is_dir():
        return
    for path in step.folder.iterdir():
        if step.verb == "evaluate" and path.name == "cells":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _record(plan: Plan, step: Step) -> dict[str, Any] | None:
    try:
        value = read_json(_file(plan, step))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(plan: Plan, step: Step, state: str) -> None:
    record = {"state": state, "key": step.key, "settings": _plain(plan, step)}
    content = plan.content_of(step)
    if content:
        record["content"] = content
    if plan.packaged:
        record["packaged"] = plan.packaged
    write_json(_file(plan, step), record)


def _changed_data(plan: Plan, record: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Give DATA → hashes before and now, where they differ.

    What an earlier version did not note, or cannot be read now, has not changed for all one knows.
    """
    before = record.get("content", {})
    now = plan.contents.of(before)
    return {spec: (before[spec], new) for spec, new in now.items() if new != before[spec]}


def _file(plan: Plan, step: Step) -> Path:
    return plan.out / STEPS / f"{step.name}.json"


def _plain(plan: Plan, step: Step) -> Any:
    return json.loads(json.dumps(portable(result_values(step.settings), plan.out)))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    result: dict[str, Any] = {}
    for key, item in value.items():
        result |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return result
