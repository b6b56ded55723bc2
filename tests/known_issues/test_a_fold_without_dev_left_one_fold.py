"""Where a fold lacked dev or test, ER was measured on fold 1 alone, in silence; without train,
on the other folds.
"""

from __future__ import annotations

import pytest

from speechft.core.errors import MissingSplitError
from speechft.tasks import TASKS

PLAIN = ("train", "dev", "test")
FOLDS = [f"fold{n}_{part}" for n in (1, 2) for part in PLAIN]


@pytest.mark.parametrize("part", PLAIN)
def test_the_split_is_named(part):
    data = dict.fromkeys((*PLAIN, *FOLDS), ())
    assert [name for name, _ in TASKS["er"].arrange(data)] == FOLDS
    del data[f"fold2_{part}"]
    with pytest.raises(MissingSplitError, match=f"lacks the split 'fold2_{part}'"):
        TASKS["er"].arrange(data)


def test_without_folds_the_plain_splits_are_read():
    assert [name for name, _ in TASKS["er"].arrange(dict.fromkeys(PLAIN, ()))] == [*PLAIN]
