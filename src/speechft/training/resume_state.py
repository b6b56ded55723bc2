"""What a run needs to go on after a stop: one file with a seal, and the update in its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from speechft.core.checksum_files import break_seal, is_sealed, seal
from speechft.core.errors import CheckpointError
from speechft.core.files import atomic_path
from speechft.core.logging import get_logger
from speechft.training.pieces import own

_log = get_logger(__name__)
FOLDER: Final = "checkpoints"
FILES: Final = "files"
"""In a state: names and SHA-256 of files beside it, which hold tensors that lie in pieces."""


def save_state(folder: Path, update: int, state: dict[str, Any]) -> None:
    """Write the state of a run, plain values and tensors only, in place of the one before.

    Args:
        folder: of the states.
        update: that was done last.
        state: all that the run needs to go on.
    """
    path = folder / f"update-{update}.pt"
    break_seal(path)
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
    seal(path)
    for other in _states(folder).values():
        if other != path:
            break_seal(other)
            other.unlink()
            shutil.rmtree(other.with_suffix(""), ignore_errors=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """Read the last state of a run, or give None if there is none yet.

    Raises:
        CheckpointError: the file has changed since it was written, or cannot be read.
    """
    path, hint = last_state(folder), way_out(folder)
    if path is None:
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        spoilt = [] if FILES in state else not_finite(state["module"])
    except Exception as error:  # torch raises many kinds, and what it gives may be anything
        found = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        raise CheckpointError(
            "cannot read the state of the run", where=path, found=found, hint=hint
        ) from None
    if spoilt:
        raise CheckpointError(
            "the state of the run holds weights that are not finite",
            where=path,
            found=", ".join(spoilt[:4]),
            hint=hint,
        )
    return state


def last_state(folder: Path) -> Path | None:
    """Give the file of a run's last state, if there is one yet.

    Raises:
        CheckpointError: it has changed since it was written.
    """
    whole = [path for path in _states(folder).values() if is_sealed(path, way_out(folder))]
    return whole[-1] if whole else None


def not_finite(tensors: dict[str, Tensor]) -> list[str]:
    """Name the tensors that hold an infinite value or NaN, in the pieces of this process."""
    return [name for name, tensor in tensors.items() if not bool(own(tensor).isfinite().all())]


def pieces_of(folder: Path, update: int) -> Path:
    """Give the folder for tensors of a state that lie in pieces."""
    return folder / f"update-{update}"


def way_out(folder: Path) -> str:
    """Say what to do where a state has changed since it was written."""
    return f"remove {folder} to train from the first update on"


def _states(folder: Path) -> dict[int, Path]:
    """Give the states in the order of their updates."""
    found = {p.stem.removeprefix("update-"): p for p in folder.glob("update-*.pt")}
    return dict(sorted((int(name), path) for name, path in found.items() if name.isdigit()))
