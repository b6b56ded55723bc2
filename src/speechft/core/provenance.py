"""Provenance: what made an artefact, with which versions, from which parents."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from speechft._version import __version__
from speechft.core.files import hash_json, read_json, write_json

FILE_NAME = "speechft.json"


def versions() -> dict[str, str]:
    """Give the versions of Python, of this package and of the libraries that shape results."""
    result = {"python": platform.python_version(), "speechft": __version__}
    for name in ("torch", "transformers", "lhotse", "numpy"):
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


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
