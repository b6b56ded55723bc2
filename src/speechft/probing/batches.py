"""What a probe is fed with: ways of making batches, by name, and batches on its device in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any, Final

import torch
from torch import Tensor

from speechft.core.seeding import torch_generator
from speechft.core.stopping import threads
from speechft.hidden.states import States
from speechft.tasks.probe_plan import Scheme

# Padded frames of a batch that is only scored: 2 GB of a Base encoder's 13 hidden states.
EVAL_FRAMES: Final = 50_000
_AHEAD: Final = 2
"""Batches that are put together while a GPU is busy with others, each by a thread of its own."""


@dataclass(frozen=True)
class Split:
    """One split for a probe.

    Attributes:
        states: of every utterance.
        targets: one per utterance, the class first, or a sequence; may be empty where nothing is
            trained.
        references: one per utterance.
        samples: of audio in each utterance; only some schemes of batches ask for them.
        draws: the utterances that are scored, some of them more than once; all if not given.
    """

    states: States
    targets: list[Tensor]
    references: list[Any]
    samples: list[int] = field(default_factory=list)
    draws: list[int] | None = None


EpochBatches = Callable[[Split, int, torch.Generator], list[list[int]]]
"""Gives the batches of one epoch, of so many utterances each."""
_SCHEMES: dict[str, EpochBatches] = {}


def scheme(name: Scheme) -> Callable[[EpochBatches], EpochBatches]:
    """Register a way of making batches under its name in plans."""

    def register(make: EpochBatches) -> EpochBatches:
        _SCHEMES[name] = make
        return make

    return register


def updates(
    name: Scheme, size: int, accumulate: int, seed: int, train: Split
) -> Iterator[list[list[int]]]:
    """Give the batches of every update, without end: a pure function of the arguments.

    Batches are counted across the borders of epochs, so an update may take the last ones of an
    epoch and the first ones of the next.

    Args:
        name: of the scheme. "bucketed": shuffled, of similar lengths; "shuffled": shuffled and
            nothing else; "balanced": drawn so that all classes are equally frequent.
        size: utterances per batch.
        accumulate: batches per update.
        seed: of all draws.
        train: the utterances.
    """
    batches = (
        batch
        for epoch in count()
        for batch in _SCHEMES[name](train, size, torch_generator(seed, "batches", epoch))
    )
    while True:
        yield list(islice(batches, accumulate))


@scheme("bucketed")
def _bucketed(train: Split, size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle, sort by length inside pools of 16 batches, cut into batches, shuffle these."""
    lengths = train.states.lengths
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pools = [sorted(part, key=lambda i: lengths[i]) for part in cut(order, 16 * size)]
    return shuffled([batch for pool in pools for batch in cut(pool, size)], generator)


@scheme("shuffled")
def _shuffled(train: Split, size: int, generator: torch.Generator) -> list[list[int]]:
    return cut(torch.randperm(len(train.states.lengths), generator=generator).tolist(), size)


@scheme("balanced")
def balanced(train: Split, size: int, generator: torch.Generator) -> list[list[int]]:
    """Draw as many utterances as there are, with replacement, all classes equally likely.

    The last batch is left out if it is not full.
    """
    batches = cut(balanced_draws(train.targets, generator), size)
    return [b for b in batches if len(b) == size] or batches


def balanced_draws(targets: Sequence[Tensor], generator: torch.Generator) -> list[int]:
    """Draw N of N utterances with replacement, all classes equally likely."""
    own = torch.tensor([int(target.flatten()[0]) for target in targets])
    weights = 1.0 / torch.bincount(own)[own].double()
    return torch.multinomial(weights, len(own), replacement=True, generator=generator).tolist()


def cut(items: Sequence[int], size: int) -> list[list[int]]:
    """Cut items into batches; the last one may be smaller."""
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def shuffled(batches: list[list[int]], generator: torch.Generator) -> list[list[int]]:
    """Give batches in random order."""
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def eval_batches(order: Sequence[int], lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut an order into batches of at most `size` items, and fewer where they are long.

    Args:
        order: items.
        lengths: frames of each item.
        size: items of a batch.
    """
    batch: list[int] = []
    longest = 0
    for item in order:
        longest = max(longest, lengths[item])
        if len(batch) == size or (batch and longest * (len(batch) + 1) > EVAL_FRAMES):
            yield batch
            batch, longest = [], lengths[item]
        batch.append(item)
    if batch:
        yield batch


def feed(
    states: States, batches: Iterable[Sequence[int]], device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor | None]]:
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


def _ahead(
    states: States, batches: Iterable[Sequence[int]], device: torch.device | str
) -> Iterator[tuple[Tensor, Tensor | None]]:
    def pinned(items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        batch, lengths = states.batch(items)
        return batch.pin_memory(), None if lengths is None else lengths.pin_memory()

    def first() -> tuple[Tensor, Tensor | None]:
        batch, lengths = waiting.popleft().result()
        there = batch.to(device, non_blocking=True).float()
        return there, None if lengths is None else lengths.to(device, non_blocking=True)

    waiting: deque[Future[tuple[Tensor, Tensor | None]]] = deque()
    with threads(_AHEAD, "states") as pool:
        for items in batches:
            waiting.append(pool.submit(pinned, items))
            if len(waiting) > _AHEAD:
                yield first()
        while waiting:
            yield first()


@contextmanager
def quick_recurrence(states: States, device: torch.device | str) -> Iterator[None]:
    """Let cuDNN round to TF32 in LSTMs and convolutions of heads that read kept states on a GPU.

    LSTMs are what probes of ASR, SF and SD wait for there, and S3PRL's are computed so too. An
    encoder is not at work then; where it is, since nothing is kept, all stays as it was. So it does
    where somebody has told LSTMs and convolutions apart, of which torch then refuses to speak.
    """
    try:
        before = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        before = None
    if torch.device(device).type != "cuda" or not states.on_cpu or before is None:
        yield
        return
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
