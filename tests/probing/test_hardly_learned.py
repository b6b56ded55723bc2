"""Probes whose answers are far too short are named, wherever their figures stand."""

from __future__ import annotations

import logging

import pytest
from evaluate_fixture import CONFIG, write_tones

from speechft.cli.app import main
from speechft.core.files import read_jsonl, write_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.probing.evaluate import evaluate
from speechft.probing.hardly_learned import has_hardly_learned, note_of
from speechft.probing.settings import EvaluateSettings
from speechft.reporting.study.page import page
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.table import make_table
from speechft.tasks import TASKS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    write_tones(folder / "data")
    build_encoder(dict(CONFIG), seed=0).save(folder / "encoder")
    return folder


def evaluated(home, out, monkeypatch, symbols):
    """Evaluate with a head for phonemes that answers with so many symbols."""
    monkeypatch.setattr(
        TASKS["pr"], "decode", lambda _self, logits, _lengths: [["g"] * symbols] * len(logits)
    )
    values = {
        "encoders": (("θ0", home / "encoder"),),
        "data": str(home / "data" / "table.jsonl"),
        "tasks": ("pr", "sid"),
        "steps": 1,
        "batch_size": 4,
        "checks": 1,
        "learning_rates": (0.01,),
        "workers": 1,
        "out": out,
    }
    return evaluate(parse_settings(EvaluateSettings, values, where="test"))


def test_an_evaluation_and_its_report_name_it(home, tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        out = evaluated(home, tmp_path / "short", monkeypatch, 0)
    assert "the probe for pr on θ0 answers with less than half of the symbols" in caplog.text
    records = {record["task"]: record for record in read_jsonl(out / "results.jsonl")}
    assert records["pr"]["answered"] == 0
    assert "answered" not in records["sid"]
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out), "--out", str(tmp_path / "report")])
    assert not ended.value.code
    text = (tmp_path / "report" / "report.md").read_text()
    assert "A probe that has hardly learned." in text


def test_one_that_answers_at_length_is_not_named(home, tmp_path, monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        out = evaluated(home, tmp_path / "long", monkeypatch, 1)  # of the two that were said
    assert "answers with less" not in caplog.text
    assert all("answered" not in record for record in read_jsonl(out / "results.jsonl"))


def test_a_study_names_rows_and_seeds(tmp_path):
    study = StudySettings.model_validate(
        {
            "name": "one",
            "title": "One",
            "seeds": [0, 1],
            "encoders": {"theta0": "tiny-hubert"},
            "evaluate": {"data": "synthetic:demo", "tasks": ["pr"]},
            "rows": [{"name": "theta0", "title": "θ0", "encoder": "theta0"}],
        }
    )
    one = {"row": "theta0", "task": "pr", "metric": "per", "direction": "lower"}
    rows = [{**one, "seed": 0, "value": 20.0}, {**one, "seed": 1, "value": 90.0, "answered": 0.2}]
    write_jsonl(tmp_path / "measurements.jsonl", rows)
    text = page(study, make_table(study, rows), [], {}, [])
    assert "the probe on θ0 (seed 1) answers with less than half" in text
    assert "answers with" not in page(study, make_table(study, rows[:1]), [], {}, [])


def test_a_share_that_is_rounded_to_a_half_is_named_too():
    note = note_of(0.4996)
    assert note == {"answered": 0.5}
    assert has_hardly_learned(note)
    assert note_of(0.5) == note_of(None) == {}
    assert not has_hardly_learned({})
