"""Tensors in pieces on the disk: each process writes its own, any number of them reads all."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from speechft.core.errors import CheckpointError
from speechft.core.files import hash_file
from speechft.training.distributed import all_processes, least, of_all, on_main
from speechft.training.pieces import is_piece


def save_pieces(folder: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Write tensors, each process its pieces; give the SHA-256 of every file.

    Args:
        folder: of the files; what a killed process has left there goes.
        tensors: by name, the same names in all processes.
    """
    on_main(lambda: shutil.rmtree(folder, ignore_errors=True))
    save(dict(tensors), storage_writer=FileSystemWriter(folder))
    # One list for all: on a disk of several machines each may see the others' files later.
    files = on_main(lambda: sorted(path for path in folder.iterdir() if path.is_file()))
    state = all_processes()
    mine = range(state.process_index, len(files), state.num_processes)
    found = of_all({i: (files[i].name, hash_file(files[i])) for i in mine})
    return dict(found.values())


def load_pieces(
    folder: Path, files: Mapping[str, str], likes: Mapping[str, Tensor], way_out: str
) -> dict[str, Tensor]:
    """Read tensors, each process its pieces.

    Args:
        folder: of the files.
        files: name → SHA-256, as `save_pieces` gave it.
        likes: name of a tensor, or of what it belongs to → what is in pieces like it; a tensor that
            is found by neither is whole.
        way_out: what to do where a file has changed since, for the message.

    Raises:
        CheckpointError: one has.
    """
    state = all_processes()
    mine = sorted(files)[state.process_index :: state.num_processes]
    changed = [n for n in mine if not _is(folder / n, files[n])]
    if least(0.0 if changed else 1.0) == 0:
        raise CheckpointError(
            "the state of the run is not as it was written",
            where=folder / changed[0] if changed else folder,
            expected=f"{len(files)} files with the SHA-256 that was noted",
            hint=way_out,
        )
    known: Any = FileSystemReader(folder).read_metadata().state_dict_metadata
    found: dict[str, Tensor] = {}
    for name, about in known.items():
        like = likes.get(name, likes.get(name.rpartition("|")[0]))
        pieces = like is not None and is_piece(like) and like.shape == about.size
        kind = about.properties.dtype
        found[name] = (
            torch.zeros_like(like, dtype=kind)
            if pieces and like is not None
            else torch.zeros(about.size, dtype=kind)
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # where one reads alone
        load(found, storage_reader=FileSystemReader(folder), no_dist=state.num_processes == 1)
    return found


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hash_file(path) == digest
