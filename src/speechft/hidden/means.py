"""Time means of several splits, filled in as their utterances come."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechft.hidden.library import Encoded, Request
from speechft.hidden.states import PooledStates


@dataclass
class Means:
    """Collects the time means of every request.

    Args:
        requests: split → what it needs.
        shape: K, D.
        folder: for a nameless file that holds them; None keeps them in memory.
    """

    requests: Mapping[str, Request]
    shape: tuple[int, int]
    folder: Path | None = None
    lengths: dict[int, int] = field(default_factory=dict, init=False)
    _tensors: dict[str, Tensor] = field(default_factory=dict, init=False)
    _rows: dict[int, list[tuple[str, int]]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        states, width = self.shape
        for name, request in self.requests.items():
            self._tensors[name] = _room((states, len(request.items), width), self.folder)
            for row, i in enumerate(request.items):
                self._rows.setdefault(i, []).append((name, row))

    def add(self, found: Encoded) -> None:
        """Take what is wanted of a batch."""
        for column, i in enumerate(found.items):
            self.lengths[i] = found.lengths[column]
            for name, row in self._rows.get(i, ()):
                self._tensors[name][:, row] = found.means[:, column]

    def pooled(self, name: str) -> PooledStates:
        """Give the time means of a split."""
        items = self.requests[name].items
        return PooledStates(self._tensors[name], [self.lengths[i] for i in items])


def _room(shape: tuple[int, int, int], folder: Path | None) -> Tensor:
    """Give an empty tensor, in a nameless file of a folder where one is given."""
    if folder is None or 0 in shape:
        return torch.empty(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))
