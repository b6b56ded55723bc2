"""Which of several processes this one is, where `accelerate launch` has started it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from speechft.core.devices import named_device


@dataclass(frozen=True)
class Share:
    """This process among those that do one evaluation together.

    Attributes:
        rank: its number, from 0.
        processes: their count.
        local_rank: its number on its machine, which is also that of its GPU.
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.processes == 1


def this_share() -> Share:
    """Read the variables that `accelerate launch` and `torchrun` set."""
    try:
        rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        return Share(rank, processes, int(os.environ.get("LOCAL_RANK", rank)))
    except (KeyError, ValueError):
        return Share()


def choose_device(name: str, share: Share | None = None) -> str:
    """Give "cpu" or a GPU; each of several processes on a machine gets a GPU of its own."""
    name = named_device(name)
    if name == "cuda" and share is not None and not share.alone:
        return f"cuda:{share.local_rank % max(1, torch.cuda.device_count())}"
    return name
