"""A column probes a task on other data under a name of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_fixture import BASE, written

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.core.launch_settings import LaunchSettings
from speechft.pipeline.study.stage import load_study, plan_studies, study


@pytest.mark.usefixtures("warm_workers")
def test_a_column_stands_beside_its_task(tmp_path):
    made = written(
        tmp_path,
        seeds=[0],
        stages=[],
        rows=[{"name": "theta0", "title": "θ0", "encoder": "theta0"}],
        findings=[
            {"says": "So.", "pairs": [["theta0", "theta0"]], "metric": "sid-long acc"},
        ],
        columns={"sid-long": {"task": "sid", "steps": 6}},
    )
    one = load_study(made)
    (folder,) = study([one], tmp_path / "out", LaunchSettings(workers=1))
    rows = read_jsonl(folder / "measurements.jsonl")
    assert [row["task"] for row in rows] == ["sid", "sid-long"]
    page = (folder / "report.md").read_text()
    assert "SID-LONG ACC ↑" in page
    assert page.count("evaluate") < 10


def test_a_column_needs_a_task_and_another_name(tmp_path):
    for columns, said in (
        ({"x": {"data": "synthetic:tiny"}}, "and a task"),
        ({"A b": {"task": "sid"}}, "small letters"),
        ({"sid": {"task": "sid"}}, "given twice"),
    ):
        with pytest.raises(SettingsError, match=said):
            load_study(written(tmp_path, columns=columns))


def test_a_column_that_is_a_task_once_more_is_refused(tmp_path):
    """It took the place of the task's own figures."""
    one = load_study(written(tmp_path, columns={"again": {"task": "sid"}}))
    with pytest.raises(SettingsError, match=r"(?s)the column 'again' measures what 'sid' does"):
        plan_studies([one], tmp_path)


def test_a_choice_of_metrics_is_for_the_tasks_that_have_one(tmp_path):
    """What it said of `further` was refused for the other tasks, and the other way round."""
    evaluate = {**BASE["evaluate"], "select": {"asr": "cer", "sid": "acc"}}
    columns = {"pr-long": {"task": "pr", "steps": 6}}
    made = written(tmp_path, seeds=[0], evaluate=evaluate, further=["asr"], columns=columns)
    jobs = plan_studies([load_study(made)], tmp_path).jobs.values()
    found = {job.settings.tasks: job.settings.select for job in jobs if job.verb == "evaluate"}
    assert found == {("sid",): {"sid": "acc"}, ("asr",): {"asr": "cer"}, ("pr",): {}}


def test_averages_and_an_early_encoder_alone_are_parts_of_a_stage(tmp_path):
    tuned = {"task": "sid", "ema": 0.9, "average_last": 0.5, "keep_at": 0.5}
    names = ("encoder-ema", "encoder-average", "encoder-at-50")
    rows = [{"name": one, "title": "-", "encoder": f"sid-stable/{one}"} for one in names]
    stages = [{"name": "sid-stable", "finetune": tuned}]
    changes = {"seeds": [0], "stages": stages, "rows": [BASE["rows"][0], *rows], "findings": []}
    graph = plan_studies([load_study(written(tmp_path, **changes))], tmp_path)
    paths = [job.settings.encoders[0].path for job in graph.jobs.values() if job.verb == "evaluate"]
    assert [Path(str(path)).name for path in paths] == ["tiny-hubert", *names]
