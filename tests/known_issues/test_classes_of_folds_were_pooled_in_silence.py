"""What `classes.json`, page and CSV say of folds agrees with `results.jsonl`, or says what it is.

Of ER's five folds the results have the mean; `classes.json` had one figure of all utterances.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from evaluate_fixture import CONFIG

from speechft.core.files import read_json, read_jsonl, write_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.metrics.per_class import OF_FOLDS, class_report
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.settings import ReportSettings
from speechft.reporting.stage import report

# Fold 1: three of four are right; fold 2: none of two.
WANTED, SAID = ["a", "a", "b", "b", "a", "b"], ["a", "a", "b", "a", "b", "a"]
FOLDS = [1, 1, 1, 1, 2, 2]


def test_scores_are_means_over_folds_and_every_fold_stands_by_itself() -> None:
    found = class_report(WANTED, SAID, FOLDS).to_dict()
    assert found["scores"]["acc"] == pytest.approx((75 + 0) / 2)
    assert found["pooled_scores"]["acc"] == pytest.approx(50)
    assert found["confusion"] == [[2, 1], [2, 1]]
    assert found["note"] == OF_FOLDS
    alone = [class_report(WANTED[:4], SAID[:4]), class_report(WANTED[4:], SAID[4:])]
    wanted = [{"fold": n, **one.to_dict()} for n, one in enumerate(alone, start=1)]
    assert found["folds"] == wanted
    low, high = found["intervals"]["acc"]  # fold 2 is 0 in every draw
    assert 0 <= low < high <= 50
    assert class_report(WANTED, SAID).to_dict().keys() == found.keys() - {
        *("note", "pooled_scores", "folds")
    }


def test_an_evaluation_of_folds_says_the_same_in_both_files(tmp_path, corpus_tree) -> None:
    encoder, out = build_encoder(dict(CONFIG), seed=0).save(tmp_path / "encoder"), tmp_path / "out"
    values = {"encoders": (str(encoder),), "data": f"iemocap:{corpus_tree('iemocap')}"}
    values |= {"tasks": ("er",), "steps": 4, "batch_size": 3, "learning_rates": (0.01,), "out": out}
    evaluate(parse_settings(EvaluateSettings, values, where="test"))
    (record,) = (r for r in read_jsonl(out / "results.jsonl") if r["metric"] == "acc")
    (classes,) = read_json(out / "classes.json")
    assert classes["scores"]["acc"] == pytest.approx(record["value"], abs=1e-5)
    accuracies = {one["fold"]: one["scores"]["acc"] for one in classes["folds"]}
    assert accuracies == pytest.approx({f["fold"]: f["acc"] for f in record["folds"]}, abs=1e-5)


def test_page_and_tables_say_what_is_of_which(tmp_path: Path) -> None:
    home = tmp_path / "run"
    answers = zip(WANTED, SAID, FOLDS, strict=True)
    rows = [
        {"id": f"{n}", "reference": r, "prediction": p, "fold": fold}
        for n, (r, p, fold) in enumerate(answers)
    ]
    write_jsonl(home / "cells" / "c" / "predictions.jsonl", rows)
    record = {"encoder": "mine", "task": "er", "seed": 0, "items": 6, "cell": "c", "value": 37.5}
    about = {"split": "test", "direction": "higher", "suite": "own", "protocol": "clean"}
    write_jsonl(home / "results.jsonl", [record | about | {"metric": "acc"}])
    report(ReportSettings(runs=(home,), out=tmp_path / "out"))
    for page in ("report.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "ACC 37.5" in text
        assert OF_FOLDS in text
    with (tmp_path / "out" / "confusion.csv").open(newline="") as file:
        counted = {
            (row["fold"], row["reference"], row["prediction"]): int(row["items"])
            for row in csv.DictReader(file)
        }
    assert [counted[fold, "a", "a"] for fold in ("1", "2", "all")] == [2, 0, 2]
    assert counted["all", "b", "a"] == 2
