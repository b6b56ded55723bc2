"""Taking turns: balanced at every point, shares met, a pure function of the epoch."""

from collections import Counter

import pytest

from speechft.core.errors import SettingsError
from speechft.data.batching import DurationBatches
from speechft.training.finetune.task_mixing import TakingTurns, Turn

LARGE, SMALL, SPEECH = 90, 7, 40  # utterances of two tasks and of what is rehearsed


def order(count, seed):
    return DurationBatches([1.0 + i % 3 for i in range(count)], 6.0, seed)


def turns(share=0.0):
    tasks = [Turn(order(LARGE, 1), 0), Turn(order(SMALL, 2), LARGE)]
    rehearsal = Turn(order(SPEECH, 3), LARGE + SMALL) if share else None
    return TakingTurns(tasks, rehearsal, share)


def kind(batch):
    kinds = {0 if i < LARGE else 1 if i < LARGE + SMALL else 2 for i in batch}
    assert len(kinds) == 1, "a batch of two parts"
    return kinds.pop()


def test_two_tasks_alternate_across_the_borders_of_epochs():
    kinds = [kind(b) for number in range(3) for b in turns().epoch(number)]
    assert len(kinds) > 600
    assert kinds == [0, 1] * (len(kinds) // 2)


def test_the_longest_task_has_whole_epochs_and_the_others_repeat():
    seen = Counter(i for batch in turns().epoch(0) for i in batch)
    large = {seen[i] for i in range(LARGE)}
    assert len(large) == 1
    small = [seen[i] for i in range(LARGE, LARGE + SMALL)]
    assert min(small) > 5 * large.pop()
    assert max(small) - min(small) <= 1


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_rehearsal_has_its_share_everywhere(share):
    kinds = [kind(b) for b in turns(share).epoch(0)]
    for end in range(1, len(kinds) + 1):
        assert abs(kinds[:end].count(2) - share * end) < 1 + 1e-6
    tasks = [k for k in kinds if k != 2]
    assert tasks == [0, 1] * (len(tasks) // 2)


def test_one_task_with_rehearsal():
    alone = TakingTurns([Turn(order(LARGE, 1), 0)], Turn(order(SPEECH, 3), LARGE), 0.25)
    kinds = [0 if b[0] < LARGE else 1 for b in alone.epoch(0)]
    assert kinds[:8] == [0, 0, 0, 1] * 2


def test_epochs_are_pure_and_differ():
    first, again = turns(0.2), turns(0.2)
    again.epoch(3)
    assert first.epoch(1) == again.epoch(1)
    assert first.epoch(1) != first.epoch(2)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_makes_no_sense(share):
    with pytest.raises(SettingsError):
        TakingTurns([Turn(order(3, 0), 0)], None, share)
    with pytest.raises(SettingsError):
        TakingTurns([], None, 0.0)
