"""A study that also says how far its rows are from θ0."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_fixture import BASE, written
from warm_workers import warm_workers

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.core.launch_settings import LaunchSettings
from speechft.pipeline.study.stage import load_study, plan_studies, study
from speechft.reporting.study.files import read_study

ANALYZE = {"data": "synthetic:tiny", "utterances": 2, "alphas": [0.5]}
FINDING = {"says": "Less moved.", "metric": "features cka", "pairs": [["chosen", "tuned"]]}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, _workers_end: None) -> Path:
    """A finished study with an analysis."""
    place = tmp_path_factory.mktemp("study")
    path = written(place, seeds=[0], analyze=ANALYZE, findings=[FINDING])
    with warm_workers():
        study([load_study(path)], place / "out", LaunchSettings(workers=1))
    return place / "out" / "one"


def test_every_row_but_that_of_theta0_is_analysed(done: Path) -> None:
    records = [r for r in read_jsonl(done / "measurements.jsonl") if r["task"] == "features"]
    measures = ("distance", "cka", "cosine", "connectivity")
    assert {(r["row"], r["metric"]) for r in records} == {
        (row, measure) for row in ("tuned", "chosen") for measure in measures
    }
    values = {(r["row"], r["metric"]): r["value"] for r in records}
    assert values["chosen", "distance"] < values["tuned", "distance"]


def test_it_counts_in_no_score_and_has_a_table_a_figure_and_findings(done: Path) -> None:
    _, table, verdicts, about = read_study(done)
    assert table.columns == ["sid acc"]
    assert table.moved[0] == "features distance"
    page = (done / "report.md").read_text("utf-8")
    assert "## How far from θ0" in page
    assert [one.text for one in verdicts] == ["not told apart"]  # one seed
    assert (done / "moved.png").stat().st_size > 5000
    assert "moved.png" in [name for name, _ in about["figures"]]


def test_no_finding_about_features_without_an_analysis(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="features cka"):
        load_study(written(tmp_path, findings=[FINDING]))


def test_nothing_is_analysed_unless_asked_for(tmp_path: Path) -> None:
    jobs = plan_studies([load_study(written(tmp_path))], tmp_path / "out").jobs.values()
    assert not [job for job in jobs if job.verb == "analyze"]
    assert "analyze" not in BASE
