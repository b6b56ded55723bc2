"""A study in parts: as many jobs as end within some hours, and the hours that are foreseen."""

from __future__ import annotations

import pytest
from study_fixture import written

from speechft.cli.app import main
from speechft.core.launch_settings import LaunchSettings
from speechft.pipeline.study.stage import load_study, plan_studies, study
from speechft.pipeline.time_left import foreseen

ROWS = [
    {"name": "theta0", "title": "θ0", "encoder": "theta0"},
    {"name": "tuned", "title": "θ'", "encoder": "sid-stable"},
]


@pytest.mark.usefixtures("warm_workers")
def test_a_part_is_done_and_kept_and_the_next_call_goes_on(tmp_path, capsys):
    usual = {"finetune": 1.0, "evaluate": 0.5}
    given = {"seeds": [0], "rows": ROWS, "sets": {}, "hours": usual}
    stages = [{"name": "sid-stable", "finetune": {"task": "sid"}}]
    findings = [{"says": "So.", "pairs": [["tuned", "theta0"]]}]
    path = written(tmp_path, stages=stages, findings=findings, **given)
    one, out = load_study(path), tmp_path / "out"
    assert sum(foreseen(plan_studies([one], out), one.hours).values()) == 2.0
    assert study([one], out, LaunchSettings(workers=1), hours=0.7) == []
    graph = plan_studies([one], out)
    assert len(graph.open) == 2
    assert (out / "one" / "measurements.jsonl").is_file()
    left = foreseen(graph, one.hours)  # of an evaluation it is known now
    assert 1.0 < sum(left.values()) < 1.5
    with pytest.raises(SystemExit):
        main(["study", str(path), "--out", str(out), "--dry-run"])
    assert "1.0 hours of processor time for 2 jobs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:  # one job at least
        main(["study", str(path), "--out", str(out), "--workers", "1", "--hours", "0.01"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == "study one: jobs are left; the same command goes on\n"
    assert len(study([one], out, LaunchSettings(workers=1), hours=9.0)) == 1
