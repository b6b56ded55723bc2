"""A figure that somebody had changed in results.jsonl stood in reports, leaderboards and cards.

So did what stands in `cells/`: intervals and examples are made of predictions there.
"""

from __future__ import annotations

import pytest
from evaluate_fixture import evaluation

from speechft.core.artifact import RECORD
from speechft.core.errors import DataError
from speechft.core.files import read_jsonl, write_jsonl
from speechft.probing.evaluate import evaluate
from speechft.reporting.contrasts import read_rows
from speechft.reporting.leaderboard.ranking import make_leaderboard
from speechft.reporting.read_results import read_evidence, read_results, refuse_edited


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


def test_predictions_and_heads_are_read_as_they_were_written(evaluation_home, tmp_path):
    cells = evaluate(evaluation(evaluation_home, tmp_path / "out", keep_heads=True)) / "cells"
    (cell,) = cells.iterdir()
    file, head = cell / "predictions.jsonl", cell / "head.safetensors"
    rows = read_rows(file)
    assert rows
    write_jsonl(file, rows[1:])
    with pytest.raises(DataError, match="the predictions are not those that were written"):
        read_rows(file)
    head.write_bytes(head.read_bytes()[:-4] + bytes(4))
    with pytest.raises(DataError, match="the weights of a head are not those that were written"):
        refuse_edited(head)
    (cell / RECORD).unlink()
    assert read_rows(file) == rows[1:]
