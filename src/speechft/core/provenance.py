"""Provenance: what made an artefact, with which versions, from which parents."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from speechft._version import __version__
from speechft.core.errors import SettingsError
from speechft.core.files import hash_json, read_json, write_json

FILE_NAME = "speechft.json"
CLAIM_NAME = "begun.json"
_KINDS = {"family": "cpu family", "model": "model"}


def versions() -> dict[str, str]:
    """Give the versions of Python, of this package and of the libraries that shape results."""
    result = {"python": platform.python_version(), "speechft": __version__}
    for name in ("torch", "transformers", "lhotse", "numpy"):
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def processor() -> str:
    """Name the processor, and the GPU in use if any: the last bits of results depend on both."""
    gpu = _gpu()
    return f"{gpu}, {_cpu()}" if gpu else _cpu()


def _gpu() -> str:
    """Name the GPU that this process computes on; it is never asked for here."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ""
    return str(torch.cuda.get_device_name())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
    name = said.get("model name") or platform.processor() or platform.machine()
    kind = [f"{key} {said[long]}" for key, long in _KINDS.items() if said.get(long, "-").isdigit()]
    return f"{name} ({', '.join(kind)})" if kind else name


def write_provenance(
    folder: Path,
    *,
    stage: str,
    settings: Mapping[str, Any],
    parents: Mapping[str, str] | None = None,
    **extra: Any,
) -> None:
    """Write `speechft.json` into an artefact's folder.

    Args:
        folder: the artefact.
        stage: the verb that made it ("finetune", "merge").
        settings: the settings it was made with, as plain values.
        parents: name → hash of what it was made from.
        extra: further plain values (alpha, method, scores).
    """
    record = {
        "stage": stage,
        "settings": dict(settings),
        "parents": dict(parents or {}),
        "versions": versions(),
        "processor": processor(),
        **extra,
    }
    write_json(folder / FILE_NAME, record)


def is_done(folder: Path, *, stage: str, settings: Mapping[str, Any]) -> bool:
    """Tell whether `folder` already holds what `stage` makes with these settings."""
    try:
        record = read_json(folder / FILE_NAME)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    same_settings = hash_json(record.get("settings")) == hash_json(dict(settings))
    return record.get("stage") == stage and same_settings


def stage_of(folder: Path) -> str | None:
    """Name the stage that made what lies in `folder`, if it says so."""
    try:
        found = read_json(folder / FILE_NAME).get("stage")
    except (OSError, ValueError, AttributeError):
        return None
    return None if found is None else str(found)


def refuse_other_stage(folder: Path, stage: str) -> None:
    """Refuse a place that holds a file, or what another stage has made.

    Raises:
        SettingsError: says which.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError("the output is a file", where=folder, expected="a folder")
    found = stage_of(folder)
    if found not in (None, stage):
        raise SettingsError(
            f"the folder holds what {found!r} has made",
            where=folder,
            expected=f"a folder for {stage!r}",
            hint="choose another --out",
        )


def claim(folder: Path, *, stage: str, settings: Mapping[str, Any]) -> None:
    """Note what a resumable stage begins with; refuse to go on with what other settings began.

    Args:
        folder: the run's folder.
        stage: the verb.
        settings: plain values that decide the result, such as the settings and parents' hashes.

    Raises:
        SettingsError: the folder holds a run, finished or not, that began with other settings.
    """
    refuse_other_stage(folder, stage)
    path = folder / CLAIM_NAME
    wanted = json.loads(json.dumps({"stage": stage, "settings": dict(settings)}, default=str))
    try:
        found = read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        found = None
    if found is None or {p.name for p in folder.iterdir()} == {CLAIM_NAME}:
        try:
            write_json(path, wanted)
        except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
            raise SettingsError(
                "the folder cannot be made or written to", where=folder, found=str(error)
            ) from None
        return
    before, now = found.get("settings", {}), wanted["settings"]
    if found.get("stage") == stage and before == now:
        return
    expected, different = _differences(before, now)
    raise SettingsError(
        f"the folder holds a {found.get('stage')} that began with other settings",
        where=folder,
        expected="; ".join(expected[:4]) or found.get("stage"),
        found="; ".join(different[:4]) or stage,
        hint="choose another --out, or remove the folder to start anew",
    )


def _differences(before: Any, now: Any, name: str = "") -> tuple[list[str], list[str]]:
    """Name the settings in which two records differ, with their values before and now."""
    if before == now:
        return [], []
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [_shown(name, before)], [_shown(name, now)]
    pairs = [
        _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
        for key in {**before, **now}
    ]
    return [a for one, _ in pairs for a in one], [b for _, one in pairs for b in one]


def _shown(name: str, value: Any) -> str:
    """Show a setting; a hash is of an input's content, of which its beginning says enough."""
    is_hash = isinstance(value, str) and re.fullmatch("[0-9a-f]{16,}", value) is not None
    return f"{name} with content {str(value)[:8]}" if is_hash else f"{name} {value}"
