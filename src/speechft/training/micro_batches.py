"""Batches that are cut into pieces, whose gradients add up to the batch's, so that memory bears it.

How large a piece may be is measured, not tried: forwards and backwards with one and with two copies
of the longest utterance, from whose peaks of memory follows what each further second takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import psutil
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from speechft.core.logging import get_logger
from speechft.core.worker_processes import SHARING
from speechft.data.batching import DurationBatches
from speechft.training.objective import EncoderObjective

MicroBatch = float | Literal["auto"] | None
_SHARE: Final = 0.85  # of what is free: allocators waste some
_CGROUP: Final = Path("/sys/fs/cgroup")
log = get_logger(__name__)


class Piece(NamedTuple):
    """A part of a batch, and its share in the batch's mean loss."""

    indices: list[int]
    items: Any
    share: float


def cut(
    objective: EncoderObjective, indices: Sequence[int], items: list[Tensor], seconds: float
) -> list[Piece]:
    """Cut a batch into pieces of so many seconds, padding included, or of one utterance.

    The shares are such that the sum of the pieces' losses, weighted by them, is the batch's loss.
    """
    groups = DurationBatches(objective.seconds(items), seconds, 0, shuffle=False).epoch(0)
    if len(groups) == 1:
        return [Piece(list(indices), items, 1.0)]
    parts = [([indices[i] for i in group], [items[i] for i in group]) for group in groups]
    weights = [objective.weight(*part) for part in parts]
    total = sum(weights) or 1.0
    return [Piece(*part, weight / total) for part, weight in zip(parts, weights, strict=True)]


def affordable(
    objective: EncoderObjective,
    index: int,
    items: list[Tensor],
    last: int,
    moments: float,
    averages: int = 0,
) -> float:
    """Give the seconds of speech that one piece may have, padding included.

    Args:
        objective: in the precision that is asked for; all that moves at update `last` counts.
        index: of the longest utterance.
        items: it alone, as the source loads it.
        last: update by which everything moves that ever does.
        moments: bytes of the optimiser's moments over those of the weights that move.
        averages: of all weights, that lie beside them.
    """

    def step(copies: int) -> None:
        objective.before_update(last)
        loss, _ = objective.loss([index] * copies, items * copies)
        torch.autograd.backward(loss)
        objective.module.zero_grad(set_to_none=True)

    device = objective.encoder.device
    step(1)  # what is computed once is there now
    (seconds,) = objective.seconds(items)
    one = peak_bytes(lambda: step(1), device)
    try:
        two = peak_bytes(lambda: step(2), device)
    except torch.OutOfMemoryError:  # of a GPU; a processor's system gives what it does not have
        objective.module.zero_grad(set_to_none=True)
        log.info("micro-batches of %.1f s at most: there is no memory for twice as much", seconds)
        return seconds
    sizes = [(p.nbytes, p.requires_grad) for p in objective.module.parameters()]
    later = sum(size * (averages + moments * moves) for size, moves in sizes)
    each = max(two - one, 1)
    free = _SHARE * free_bytes(device)
    copies = max(1.0, (free - later - max(one - each, 0)) / each)
    log.info(
        "micro-batches of %.1f s at most: a second takes %.2f GB, %.1f GB are free",
        *(copies * seconds, each / seconds / 1e9, free / 1e9),
    )
    return copies * seconds


def peak_bytes(call: Callable[[], None], device: torch.device) -> int:
    """Give the most memory that tensors take, while something is called, beyond what they took."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with _Counted() as counted:
        call()
    return int(counted.most)


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call, unused-ignore]
    """Counts the bytes of the storages that operations make, for as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self.most = 0
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call an operation, and count what it gives that it was not given."""
        del types
        output = func(*args, **(kwargs or {}))
        gone: list[int] = [key for key, (one, _) in self._alive.items() if one.expired()]  # type: ignore[no-untyped-call, unused-ignore]
        for key in gone:
            del self._alive[key]
        given = {key for key, _ in _storages((args, kwargs))}
        for key, storage in _storages(output):
            if key not in given:
                weak = StorageWeakRef(storage)  # type: ignore[no-untyped-call, unused-ignore]
                self._alive[key] = weak, storage.nbytes()
        self.most = max(self.most, sum(size for _, size in self._alive.values()))
        return output


def _storages(values: Any) -> list[tuple[int, torch.UntypedStorage]]:
    found = [v.untyped_storage() for v in tree_leaves(values) if isinstance(v, Tensor)]
    return [(storage._cdata, storage) for storage in found]


def free_bytes(device: torch.device) -> int:
    """Give the memory that may still be taken, by each process that computes on the device."""
    sharing = int(os.environ.get(SHARING, "1"))
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] // sharing + unused
    free = int(psutil.virtual_memory().available)
    try:  # a container's bound, or a batch system's
        limit, used = ((_CGROUP / f"memory.{n}").read_text().strip() for n in ("max", "current"))
        free = min(free, int(limit) - int(used)) if limit != "max" else free
    except (OSError, ValueError):
        pass
    return free // (sharing * int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
