"""From kept hidden states to batches on the device that trains probes, ahead of need on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor

from speechft.hidden.states import States

Fed = tuple[Tensor, Tensor | None]

_AHEAD: Final = 2
"""Batches that are put together while a GPU is busy with others, each by a thread of its own."""


def feed(
    states: States, batches: Iterable[Sequence[int]], device: torch.device | str
) -> Iterator[Fed]:
    """Give states and lengths of one batch after the other, states in float32.

    On a GPU frames cross in the type that they are kept in, from pinned memory, and the next
    batches are put together meanwhile; the values are the same.

    Args:
        states: of a split.
        batches: the utterances of each.
        device: where the probe is.
    """
    if torch.device(device).type == "cuda" and states.on_cpu:
        yield from _ahead(states, batches, device)
        return
    for items in batches:
        batch, lengths = states.batch(items)
        yield batch.to(device).float(), None if lengths is None else lengths.to(device)


@contextmanager
def quick_recurrence(states: States, device: torch.device | str) -> Iterator[None]:
    """Let cuDNN round to TF32 in LSTMs and convolutions of heads that read kept states on a GPU.

    LSTMs are what probes of ASR, SF and SD wait for there, and S3PRL's are computed so too. An
    encoder is not at work then; where it is, since nothing is kept, all stays as it was.
    """
    if torch.device(device).type != "cuda" or not states.on_cpu:
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _ahead(
    states: States, batches: Iterable[Sequence[int]], device: torch.device | str
) -> Iterator[Fed]:
    waiting: deque[Future[Fed]] = deque()

    def first() -> Fed:
        batch, lengths = waiting.popleft().result()
        there = batch.to(device, non_blocking=True).float()
        return there, None if lengths is None else lengths.to(device, non_blocking=True)

    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="states") as pool:
        for items in batches:
            waiting.append(pool.submit(_pinned, states, items))
            if len(waiting) > _AHEAD:
                yield first()
        while waiting:
            yield first()


def _pinned(states: States, items: Sequence[int]) -> Fed:
    batch, lengths = states.batch(items)
    return batch.pin_memory(), None if lengths is None else lengths.pin_memory()
