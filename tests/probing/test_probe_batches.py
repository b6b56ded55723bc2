from __future__ import annotations

from collections import Counter
from itertools import chain, islice

import torch

from speechft.hidden.states import PooledStates
from speechft.probing.batches import (
    EVAL_FRAMES,
    Split,
    balanced,
    balanced_draws,
    eval_batches,
    updates,
)
from speechft.probing.s3prl import blocks, window


def split(lengths=(), samples=(), targets=()):
    states = PooledStates(torch.zeros(1, len(lengths), 1), list(lengths))
    return Split(states, list(targets), [], list(samples))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_asr_batches_of_32_are_really_16():
    samples = [16000 + i for i in range(100)]
    given = blocks(split(samples=samples), 32, generator())
    assert Counter(map(len, given)) == {16: 6, 4: 1}  # what remains is not halved
    assert sorted(chain(*given)) == list(range(100))
    first = next(batch for batch in given if 99 in batch)
    assert sorted(first) == list(range(84, 100))  # neighbours in length
    assert blocks(split(samples=samples), 32, generator(1)) != given
    # control: shorter than 2000 "frames", which samples never are
    assert sorted(map(len, blocks(split(samples=[1500] * 64), 32, generator()))) == [32, 32]
    # a single utterance that remains is dropped
    assert sorted(chain(*blocks(split(samples=samples[:33]), 32, generator()))) == list(
        range(1, 33)
    )


def test_sliding_windows_overlap_and_long_ones_are_halved():
    targets = [torch.zeros(50 - i) for i in range(40)]  # already the longest first
    samples = [16000] * 40
    given = window(split(samples=samples, targets=targets), 16, generator())
    assert len(given) == 40
    assert all(batch == list(range(batch[0], batch[0] + 16)) for batch in given)
    starts = Counter(batch[0] for batch in given)
    assert starts == {**dict.fromkeys(range(24), 1), 24: 16}  # clamped to n - 16
    samples[3] = 300_001
    halved = [
        b for b in window(split(samples=samples, targets=targets), 16, generator()) if len(b) < 16
    ]
    assert halved == [list(range(3, 11))]  # only where it comes first


def test_balanced_batches_draw_classes_alike():
    classes = [0] * 900 + [1] * 90 + [2] * 10
    targets = [torch.tensor([label]) for label in classes]
    given = balanced(split(targets=targets), 32, generator())
    assert {len(batch) for batch in given} == {32}
    assert len(given) == 1000 // 32
    shares = Counter(classes[i] for i in balanced_draws(targets, generator(3)))
    assert all(0.28 < count / 1000 < 0.39 for count in shares.values())


def test_batches_of_an_update_go_on_across_epochs():
    given = list(islice(updates("shuffled", 4, 3, 0, split([1] * 10)), 4))
    assert [len(part) for part in given] == [3, 3, 3, 3]
    assert sorted(chain(*given[0])) == list(range(10))
    assert [len(b) for b in chain(*given)] == [4, 4, 2] * 4
    short = list(islice(updates("shuffled", 4, 2, 0, split([1] * 10)), 3))
    assert list(chain(*short)) == list(chain(*given))[:6]


def test_batches_that_are_only_scored_stay_small():
    lengths = [100] * 70 + [EVAL_FRAMES // 2] * 3 + [EVAL_FRAMES * 2]
    given = list(eval_batches(list(range(74)), lengths, 64))
    assert list(map(len, given)) == [64, 6, 2, 1, 1]
    assert list(chain(*given)) == list(range(74))
    assert list(eval_batches([3, 1, 2], [1] * 9, 2)) == [[3, 1], [2]]
