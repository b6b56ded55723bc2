"""Which utterances train a probe together: ways of making batches, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

import torch

from speechft.core.seeding import torch_generator
from speechft.tasks.plans import Scheme

# Padded frames of a batch that is only scored: 2 GB of a Base encoder's 13 hidden states.
EVAL_FRAMES: Final = 50_000


@dataclass(frozen=True)
class Trained:
    """What is known of the training utterances.

    Attributes:
        lengths: frames of each.
        samples: of each; only some schemes ask for them.
        targets: of each: the class first, or a sequence.
    """

    lengths: Sequence[int]
    samples: Sequence[int] = ()
    targets: Sequence[torch.Tensor] = ()


EpochBatches = Callable[[Trained, int, torch.Generator], list[list[int]]]
"""Gives the batches of one epoch, of so many utterances each."""
_SCHEMES: dict[str, EpochBatches] = {}


def scheme(name: Scheme) -> Callable[[EpochBatches], EpochBatches]:
    """Register a way of making batches under its name in plans."""

    def register(make: EpochBatches) -> EpochBatches:
        _SCHEMES[name] = make
        return make

    return register


def updates(
    name: Scheme, size: int, accumulate: int, seed: int, trained: Trained
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
        trained: the utterances.
    """
    make = _SCHEMES[name]

    def endless() -> Iterator[list[int]]:
        for epoch in count():
            yield from make(trained, size, torch_generator(seed, "batches", epoch))

    batches = endless()
    while True:
        yield list(islice(batches, accumulate))


@scheme("bucketed")
def _bucketed(trained: Trained, size: int, generator: torch.Generator) -> list[list[int]]:
    return bucketed(trained.lengths, size, generator)


@scheme("shuffled")
def _shuffled(trained: Trained, size: int, generator: torch.Generator) -> list[list[int]]:
    return cut(torch.randperm(len(trained.lengths), generator=generator).tolist(), size)


@scheme("balanced")
def _balanced(trained: Trained, size: int, generator: torch.Generator) -> list[list[int]]:
    return balanced([int(t.flatten()[0]) for t in trained.targets], size, generator)


def bucketed(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle, sort by length inside pools of 16 batches, cut into batches, shuffle these."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pools = [sorted(part, key=lambda i: lengths[i]) for part in cut(order, 16 * size)]
    return shuffled([batch for pool in pools for batch in cut(pool, size)], generator)


def balanced(classes: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Draw as many utterances as there are, with replacement, all classes equally likely.

    The last batch is left out if it is not full.
    """
    batches = cut(balanced_draws(classes, generator), size)
    return [b for b in batches if len(b) == size] or batches


def balanced_draws(classes: Sequence[int], generator: torch.Generator) -> list[int]:
    """Draw N of N utterances with replacement, all classes equally likely."""
    own = torch.tensor(list(classes))
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
