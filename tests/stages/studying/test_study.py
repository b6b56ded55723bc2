"""`speechft study` from YAML to tables: shared stages, kill and resume, failures, mistakes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.files import read_json, read_jsonl
from speechft.stages.study import load_study, plan_studies, study

BASE: dict[str, Any] = {
    "name": "one",
    "title": "A tiny study",
    "seeds": [0, 1],
    "encoders": {"theta0": "tiny-hubert"},
    "finetune": {"data": "synthetic:tiny", "steps": 3, "seconds": 8, "head_size": "mini"},
    "merge": {"dtype": "float32"},
    "evaluate": {"data": "synthetic:tiny", "tasks": ["sid"], "steps": 3, "predictions": False},
    "sets": {"alphas": [{"alpha": 0.25}, {"alpha": 0.75}]},
    "stages": [
        {"name": "sid-stable", "finetune": {"task": "sid"}},
        {"for": "alphas", "name": "at-{alpha}", "of": "sid-stable", "merge": {"alpha": "{alpha}"}},
    ],
    "rows": [
        {"name": "theta0", "title": "θ0", "encoder": "theta0"},
        {"name": "tuned", "title": "θ'", "encoder": "sid-stable"},
        {"name": "chosen", "title": "θ̂", "choose": ["at-0.25", "at-0.75"], "tuned": "tuned"},
    ],
    "findings": [{"says": "It is so.", "pairs": [["chosen", "theta0"]]}],
}


def written(folder: Path, **changes: Any) -> Path:
    values = {**BASE, **changes}
    path = folder / f"{values['name']}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study."""
    place = tmp_path_factory.mktemp("study")
    study([load_study(written(place))], place / "out", workers=1)
    return place


def test_every_row_has_every_seed(done: Path) -> None:
    records = read_jsonl(done / "out" / "one" / "measurements.jsonl")
    cells = {(r["row"], r["seed"]) for r in records}
    assert cells == {(row, seed) for row in ("theta0", "tuned", "chosen") for seed in (0, 1)}
    hashes = {r["row"]: r["encoder_hash"] for r in records if r["seed"] == 0}
    assert len(set(hashes.values())) == 3


def test_a_choice_is_made_on_dev_with_the_first_seed_only(done: Path) -> None:
    about = read_json(done / "out" / "one" / "about.json")
    scores = about["choices"]["chosen"]
    assert about["chosen"]["chosen"] == max(scores, key=lambda name: scores[name])
    lost = min(scores, key=lambda name: scores[name])
    if scores[lost] < max(scores.values()):
        assert not any(name.startswith(f"{lost}, seed 1") for name in about["jobs"])


def test_the_page_and_the_figures_are_there(done: Path) -> None:
    folder = done / "out" / "one"
    text = (folder / "report.md").read_text("utf-8")
    assert "It is so." in text
    assert "synthetic speech" in text
    assert (folder / "differences.png").stat().st_size > 5000


def test_a_second_call_does_nothing_and_another_study_shares_stages(done: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (done / "out" / "stages").rglob(".done")}
    further = {"name": "two", "rows": BASE["rows"][:2], "findings": []}
    settings = [load_study(done / "one.yaml"), load_study(written(done, **further))]
    study(settings, done / "out", workers=1)
    assert {p: p.stat().st_mtime_ns for p in (done / "out" / "stages").rglob(".done")} == before


def test_a_changed_setting_makes_new_jobs_and_leaves_the_old_ones(done: Path) -> None:
    path = written(done, name="three", finetune={**BASE["finetune"], "steps": 4})
    jobs = plan_studies([load_study(path)], done / "out").jobs.values()
    assert not any(job.done for job in jobs if job.verb == "finetune")
    assert all(job.done for job in jobs if job.name.startswith("theta0"))


def test_a_job_that_fails_stops_only_those_that_need_it(tmp_path: Path) -> None:
    stages = [
        {"name": "bad", "finetune": {"task": "sid", "data": f"{tmp_path}/no.csv"}},
        {"name": "bad-merged", "of": "bad", "merge": {"alpha": 0.5}},
        {"name": "sid-stable", "finetune": {"task": "sid"}},
    ]
    rows = [
        {"name": "theta0", "title": "θ0", "encoder": "theta0"},
        {"name": "lost", "title": "-", "encoder": "bad-merged"},
        {"name": "tuned", "title": "θ'", "encoder": "sid-stable"},
    ]
    path = written(tmp_path, seeds=[0], stages=stages, rows=rows, findings=[])
    with pytest.raises(SpeechFTError, match="1 job of the study failed") as caught:
        study([load_study(path)], tmp_path / "out", workers=1)
    assert "no.csv" in str(caught.value)
    records = read_jsonl(tmp_path / "out" / "one" / "measurements.jsonl")
    assert {r["row"] for r in records} == {"theta0", "tuned"}


def test_killed_and_called_again_it_ends_with_the_same_table(done: Path, tmp_path: Path) -> None:
    path = written(tmp_path, seeds=[0], rows=BASE["rows"][:2], findings=[])
    command = [sys.executable, "-m", "speechft", "study", str(path)]
    command += ["--out", str(tmp_path / "out"), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob(".done")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    finished = list((tmp_path / "out").rglob(".done"))
    assert finished, "nothing was done before the kill"
    assert not (tmp_path / "out" / "one").exists()
    study([load_study(path)], tmp_path / "out", workers=1)
    whole, resumed = (
        [r for r in read_jsonl(place / "out" / "one" / "measurements.jsonl") if r["seed"] == 0]
        for place in (done, tmp_path)
    )
    assert resumed == [r for r in whole if r["row"] != "chosen"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [{"name": "a", "title": "a", "encoder": "theta1"}]}, "theta0"),
        ({"stages": [{"name": "a", "of": "b", "merge": {}}]}, "nothing before it is named 'b'"),
        ({"stages": [{"name": "a"}]}, "exactly one of pretrain, finetune, merge"),
        ({"seed": [0]}, "seeds"),
        ({"findings": [{"says": "x", "pairs": [["chosen", "tund"]]}]}, "tuned"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_study(written(tmp_path, **change))


def test_a_wrong_setting_of_a_stage_is_found_before_anything_runs(tmp_path: Path) -> None:
    path = written(tmp_path, finetune={**BASE["finetune"], "step": 3})
    with pytest.raises(SettingsError, match="steps"):
        study([load_study(path)], tmp_path / "out")
    assert not (tmp_path / "out" / "stages").exists()


def test_a_study_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    written(tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    assert load_study("one").name == "one"
    with pytest.raises(SettingsError, match="no such study") as caught:
        load_study("onne")
    assert "one" in str(caught.value.hint)
