"""A figure that somebody had changed in results.jsonl stood in reports, leaderboards and cards."""

from __future__ import annotations

import pytest
from evaluate_fixture import evaluation

from speechft.core.artifact import RECORD
from speechft.core.errors import DataError
from speechft.core.files import read_jsonl, write_jsonl
from speechft.probing.evaluate import evaluate
from speechft.reporting.leaderboard.ranking import make_leaderboard
from speechft.reporting.read_results import read_evidence, read_results


def test_results_are_read_as_they_were_written(evaluation_home, tmp_path):
    settings = evaluation(evaluation_home, tmp_path / "out")
    file = evaluate(settings) / "results.jsonl"
    written = file.read_bytes()

    def edit() -> None:
        write_jsonl(file, [{**record, "value": 12.5} for record in read_jsonl(file)])

    edit()
    readers = (
        make_leaderboard,
        read_evidence,
        lambda folders: read_results(folders[0] / file.name),
    )
    for read in readers:
        with pytest.raises(DataError, match="not those that were written"):
            read([file.parent])
    evaluate(settings)
    assert file.read_bytes() == written
    edit()  # whoever says that the figures are their own may have them read
    (file.parent / RECORD).unlink()
    for read in readers:
        read([file.parent])
