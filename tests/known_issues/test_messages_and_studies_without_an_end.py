"""A value of 10^5 digits was printed whole; two long sets of a study were written out for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechft.core.errors import DataError, SettingsError
from speechft.data.load import find_data
from speechft.pipeline.study.study_file import expand


def test_a_message_holds_no_longer_line_than_a_person_reads(tmp_path: Path) -> None:
    error = DataError("bad", where="a.csv", found="9" * 100_000, hint="mend it")
    assert len(str(error)) < 2200
    assert "found:    999" in str(error)
    assert str(error).endswith("next:     mend it")
    table = tmp_path / "a.csv"
    table.write_text(f"audio,start,end\na.wav,{'9' * 100_000}x,1\n")
    (problem,) = find_data(str(table)).problems
    assert "is not a number of seconds" in problem
    assert len(problem) < 200


def test_sets_of_a_study_are_not_multiplied_without_a_bound() -> None:
    members = [{"a": n} for n in range(1000)]
    sets = {"p": members, "q": members}
    with pytest.raises(SettingsError, match="1000 of p times 1000 of q"):
        expand({"sets": sets, "rows": [{"for": ["p", "q"], "name": "x"}]}, "study.yaml")
    assert len(expand({"sets": sets, "rows": [{"for": "p", "name": "x"}]}, "")["rows"]) == 1000
