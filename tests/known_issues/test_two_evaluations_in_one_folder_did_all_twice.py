"""Two `evaluate` in one --out both read all data, encoded all of it and waited for each other.

Only cells were locked. Today a whole call has its folder alone, as every other stage has.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluate_fixture import evaluation

from speechft.core.errors import SettingsError
from speechft.core.locks import LOCK, work_alone
from speechft.probing.evaluate import evaluate


def test_the_second_one_is_refused(evaluation_home: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with work_alone(out):
        with pytest.raises(SettingsError, match="another speechft is at work"):
            evaluate(evaluation(evaluation_home, out))
        assert [path.name for path in out.iterdir()] == [LOCK]
