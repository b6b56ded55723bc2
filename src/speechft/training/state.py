"""What a run needs to go on after a stop: one file, moved into place whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from speechft.core.errors import CheckpointError
from speechft.core.files import atomic_path, write_jsonl

FILE_NAME = "last.pt"


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write the state of a run: plain values and tensors only."""
    with atomic_path(folder / FILE_NAME) as temporary:
        torch.save(state, temporary)


def load_state(folder: Path) -> dict[str, Any] | None:
    """Read the state of a run, or give None if there is none yet.

    Raises:
        CheckpointError: the file is there but cannot be read.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(
            "cannot read the state of the run",
            where=path,
            found=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            hint=f"remove {path} to start this stage again",
        ) from None
    return state


def cut_metrics(path: Path, last_update: int) -> None:
    """Drop records after `last_update`: they were written after the state that the run resumes."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # the last line of a killed process
            continue
        if record["update"] <= last_update:
            kept.append(record)
    write_jsonl(path, kept)
