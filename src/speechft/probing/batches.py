"""Which utterances train a probe together: S3PRL's ways of making batches, and our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Final

import torch

from speechft.core.seeding import torch_generator
from speechft.tasks.plans import Scheme

# S3PRL's limits, in samples.
HALVED_WINDOW: Final = 300_000
HALVED_BLOCK: Final = 2_000
# Padded frames of a batch that is only scored: 2 GB of a Base encoder's 13 hidden states.
EVAL_FRAMES: Final = 50_000

Epoch = Callable[[torch.Generator], list[list[int]]]


def updates(
    scheme: Scheme,
    size: int,
    accumulate: int,
    seed: int,
    *,
    lengths: Sequence[int],
    samples: Sequence[int] = (),
    targets: Sequence[torch.Tensor] = (),
) -> Iterator[list[list[int]]]:
    """Give the batches of every update, without end: a pure function of the arguments.

    Batches are counted across the borders of epochs, so an update may take the last ones of an
    epoch and the first ones of the next.

    Args:
        scheme: "bucketed": shuffled, of similar lengths; "shuffled": shuffled and nothing else;
            "balanced": drawn so that all classes are equally frequent; "window" and "blocks":
            S3PRL's PR and SF, and its ASR.
        size: utterances per batch.
        accumulate: batches per update.
        seed: of all draws.
        lengths: frames of each utterance.
        samples: of each utterance; for "window" and "blocks".
        targets: of each utterance; for "balanced" (the class first) and "window" (a sequence).
    """
    total = len(lengths)
    epochs: dict[Scheme, Epoch] = {
        "bucketed": lambda g: bucketed(lengths, size, g),
        "shuffled": lambda g: _cut(torch.randperm(total, generator=g).tolist(), size),
        "balanced": lambda g: balanced([int(t.flatten()[0]) for t in targets], size, g),
        "window": lambda g: window([len(t) for t in targets], samples, size, g),
        "blocks": lambda g: blocks(samples, size, g),
    }
    make = epochs[scheme]

    def endless() -> Iterator[list[int]]:
        for epoch in count():
            yield from make(torch_generator(seed, "batches", epoch))

    batches = endless()
    while True:
        yield list(islice(batches, accumulate))


def bucketed(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle, sort by length inside pools of 16 batches, cut into batches, shuffle these."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pools = [sorted(part, key=lambda i: lengths[i]) for part in _cut(order, 16 * size)]
    return _shuffled([batch for pool in pools for batch in _cut(pool, size)], generator)


def balanced(classes: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Draw as many utterances as there are, with replacement, all classes equally likely.

    The last batch is left out if it is not full.
    """
    batches = _cut(balanced_draws(classes, generator), size)
    return [b for b in batches if len(b) == size] or batches


def balanced_draws(classes: Sequence[int], generator: torch.Generator) -> list[int]:
    """Draw N of N utterances with replacement, all classes equally likely."""
    own = torch.tensor(list(classes))
    weights = 1.0 / torch.bincount(own)[own].double()
    return torch.multinomial(weights, len(own), replacement=True, generator=generator).tolist()


def window(
    targets: Sequence[int], samples: Sequence[int], size: int, generator: torch.Generator
) -> list[list[int]]:
    """Give for every utterance, in random order, the batch that begins with it.

    The utterances lie in order of their targets' lengths, the longest first, so that the batches
    of an epoch overlap. If the first utterance of a batch exceeds 300 000 samples, only the first
    half of the batch is kept.

    Source:
        S3PRL 0.4, PR and SF.
    """
    order = sorted(range(len(targets)), key=lambda i: (-targets[i], i))
    last = max(0, len(order) - size)
    result = []
    for i in torch.randperm(len(order), generator=generator).tolist():
        batch = order[min(i, last) :][:size]
        long = len(batch) > 1 and samples[batch[0]] > HALVED_WINDOW
        result.append(batch[: len(batch) // 2] if long else batch)
    return result


def blocks(samples: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Cut the utterances, the longest first, into blocks, halve them, and shuffle the halves.

    S3PRL halves a full block whose longest utterance exceeds 2000; as lengths are in samples, that
    is every block, and the batch of ASR is 16, not 32. What remains after the last full block is
    not halved, and dropped if it is a single utterance.

    Source:
        S3PRL 0.4, ASR.
    """
    order = sorted(range(len(samples)), key=lambda i: (-samples[i], i))
    result: list[list[int]] = []
    for block in _cut(order, size):
        if len(block) == size and samples[block[0]] > HALVED_BLOCK and size > 1:
            result += [block[: size // 2], block[size // 2 :]]
        elif len(block) > 1 or len(order) == 1:
            result.append(block)
    return _shuffled(result, generator)


def _cut(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def _shuffled(batches: list[list[int]], generator: torch.Generator) -> list[list[int]]:
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
