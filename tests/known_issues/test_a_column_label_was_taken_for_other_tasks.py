"""A column `label` was taken for SID, ER and IC: SID was right on 100 % of labels of languages."""

from __future__ import annotations

import pytest
from lhotse import MonoCut, SupervisionSegment

from speechft.core.errors import DataError
from speechft.tasks import TASKS


@pytest.mark.parametrize("task", ["sid", "er", "ic"])
def test_no_other_column_is_taken_in_its_place(task):
    segment = SupervisionSegment("a", "a", 0.0, 1.0, custom={"label": "cs"})
    cut = MonoCut("a", 0.0, 1.0, 0, supervisions=[segment])
    with pytest.raises(DataError) as caught:
        TASKS[task].from_cuts([cut])
    assert caught.value.found == "label"
    assert "--task classify --label label)" in str(caught.value.hint)
