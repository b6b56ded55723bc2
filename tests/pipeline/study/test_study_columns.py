"""A column probes a task on other data under a name of its own."""

from __future__ import annotations

import pytest
from study_fixture import written

from speechft.core.errors import SettingsError
from speechft.core.files import read_jsonl
from speechft.core.launch_settings import LaunchSettings
from speechft.pipeline.study.stage import load_study, study


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
