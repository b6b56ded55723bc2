"""`speechft study` from YAML to tables: shared stages, kill and resume, failures, mistakes."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from kills import backend, faults, order_kills, results_of, start_fork
from light_commands import ended
from study_fixture import BASE, written
from warm_workers import warm_workers

from speechft.cli.study import _show
from speechft.core.errors import CheckpointError, SettingsError, SpeechFTError
from speechft.core.files import read_json, read_jsonl
from speechft.core.launch_settings import LaunchSettings, read_launch
from speechft.pipeline.graph import Job
from speechft.pipeline.study import study_outputs as written_pages
from speechft.pipeline.study.stage import load_study, plan_studies, study
from speechft.reporting.study.files import read_study
from speechft.reporting.study.settings import StudySettings

ONE, TWO = LaunchSettings(workers=1), LaunchSettings(workers=2)
RECORD = "speechft.json"


@contextmanager
def all_that_is_said() -> Iterator[list[str]]:
    """Collect the messages of the package."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger, level = logging.getLogger("speechft"), logging.getLogger("speechft").level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, _workers_end: None) -> Path:
    """A finished study."""
    place = tmp_path_factory.mktemp("study")
    with warm_workers():
        study([load_study(written(place))], place / "out", ONE)
    return place


def test_every_row_has_every_seed(done: Path) -> None:
    records = read_jsonl(done / "out" / "one" / "measurements.jsonl")
    cells = {(r["row"], r["seed"]) for r in records}
    assert cells == {(row, seed) for row in ("theta0", "tuned", "chosen") for seed in (0, 1)}
    hashes = {r["row"]: r["encoder_hash"] for r in records if r["seed"] == 0}
    assert len(set(hashes.values())) == 3


def test_a_study_is_planned_without_torch(done: Path) -> None:
    out = ["--out", str(done / "out"), "--dry-run"]
    planned = ended("study", str(done / "one.yaml"), *out)
    assert "finetune: 0 to do, 2 done" in planned.shown
    assert planned.imported <= {"numpy"}


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


def test_a_title_with_brackets_is_shown_as_it_is(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "one"
    shutil.copytree(done / "out" / "one", folder)
    recipe = yaml.safe_load((folder / "study.yaml").read_text("utf-8"))
    recipe["title"], recipe["rows"][1]["title"] = "Tiny [/b] study", "[red]"
    (folder / "study.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    _show(read_study(folder)[0], folder)
    text = capsys.readouterr().out
    assert "Tiny [/b] study" in text
    assert "[red]" in text
    assert "It is so." in text


def test_a_second_call_does_nothing_and_another_study_shares_stages(done: Path) -> None:
    def times() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (done / "out" / "stages").rglob(RECORD)}

    before = times()
    other = {"name": "two", "rows": BASE["rows"][:2], "findings": []}
    settings = [load_study(done / "one.yaml"), load_study(written(done, **other))]
    study(settings, done / "out", ONE)
    assert times() == before


@pytest.mark.usefixtures("warm_workers")
def test_an_evaluation_on_more_tasks_holds_one_on_fewer(tmp_path: Path) -> None:
    rows = {"rows": BASE["rows"][:1], "findings": [], "seeds": [0]}
    narrow = load_study(written(tmp_path, **rows))
    wide = load_study(written(tmp_path, name="wide", further=["ks"], **rows))
    study([narrow, wide], tmp_path / "out", TWO)
    jobs = {
        name: read_json(tmp_path / "out" / name / "about.json")["jobs"] for name in ("one", "wide")
    }
    assert set(jobs["one"].values()) < set(jobs["wide"].values())
    assert len(list((tmp_path / "out" / "stages").glob(f"*/{RECORD}"))) == 2
    notes = [read_json(tmp_path / "out" / "stages" / f"{n}.json") for n in jobs["wide"].values()]
    assert all({"seconds", "elapsed", "processor"} < set(note) for note in notes)
    found, more = (
        read_jsonl(tmp_path / "out" / name / "measurements.jsonl") for name in ("one", "wide")
    )
    assert found == more[: len(found)]
    assert [(r["task"], r["metric"]) for r in more[len(found) :]] == [("ks", "acc")]


def test_a_changed_setting_makes_new_jobs_and_leaves_the_old_ones(done: Path) -> None:
    path = written(done, name="three", finetune={**BASE["finetune"], "steps": 4})
    graph = plan_studies([load_study(path)], done / "out")
    jobs = graph.jobs.values()
    assert not any(graph.is_done(job) for job in jobs if job.verb == "finetune")
    assert all(graph.is_done(job) for job in jobs if job.name.startswith("theta0"))


@pytest.mark.usefixtures("warm_workers")
def test_a_job_that_fails_stops_only_those_that_need_it(tmp_path: Path) -> None:
    stages = [
        {"name": "bad", "finetune": {"task": "pr", "balanced": True}},
        {"name": "bad-merged", "of": "bad", "merge": {"alpha": 0.5}},
        {"name": "sid-stable", "finetune": {"task": "sid"}},
    ]
    rows = [
        {"name": "theta0", "title": "θ0", "encoder": "theta0"},
        {"name": "lost", "title": "-", "encoder": "bad-merged"},
        {"name": "tuned", "title": "θ'", "encoder": "sid-stable"},
    ]
    changes: dict[str, Any] = {"seeds": [0], "stages": stages, "rows": rows, "findings": []}
    # The second study needs the same job, which is not tried twice, and is done as far as it can.
    both = [load_study(written(tmp_path, name=name, **changes)) for name in ("one", "two")]
    with pytest.raises(SpeechFTError, match="1 job of the study failed") as caught:
        study(both, tmp_path / "out", ONE)
    assert "no classes to balance" in str(caught.value)
    assert "; 2 that need them were left" in str(caught.value)  # each once: a merge, a row
    for name in ("one", "two"):
        folder = tmp_path / "out" / name
        records = read_jsonl(folder / "measurements.jsonl")
        assert {r["row"] for r in records} == {"theta0", "tuned"}
        assert read_json(folder / "about.json")["missing"] == ["lost, seed 0"]


@pytest.mark.usefixtures("warm_workers")
def test_a_later_study_that_fails_takes_no_page_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs may have begun, and failed, while the first one was under way."""
    first = {"seeds": [0], "rows": BASE["rows"][:2], "findings": []}
    bad = [{"name": "bad", "finetune": {"task": "pr", "balanced": True}}]
    rows = [BASE["rows"][0], {"name": "lost", "title": "-", "encoder": "bad"}]
    second = {**first, "name": "two", "stages": bad, "rows": rows}
    studies = [load_study(written(tmp_path, **changes)) for changes in (first, second)]
    calls: list[tuple[str, bool]] = []
    write = written_pages.write_study

    def noted(one: StudySettings, root: Path, threads: int, partial: bool = False) -> Path:
        calls.append((one.name, partial))
        return write(one, root, threads, partial)

    monkeypatch.setattr(written_pages, "write_study", noted)
    with pytest.raises(SpeechFTError, match="1 job of the study failed"):
        study(studies, tmp_path / "out", TWO)
    assert calls == [("one", False), ("two", True)]
    assert read_json(tmp_path / "out" / "one" / "about.json")["missing"] == []


@pytest.mark.usefixtures("warm_workers")
def test_a_candidate_whose_training_diverges_loses(tmp_path: Path) -> None:
    too_fast = {"task": "sid", "steps": 12, "learning_rate": 1.0e30, "method": "regular"}
    stages = [
        {"name": "fast", "finetune": too_fast},
        {"name": "fast-merged", "of": "fast", "merge": {"alpha": 0.5}},
        {"name": "slow", "finetune": {"task": "sid"}},
    ]
    rows = [
        {"name": "theta0", "title": "θ0", "encoder": "theta0"},
        {"name": "fast", "title": "-", "encoder": "fast-merged"},
        {"name": "chosen", "title": "-", "choose": ["fast-merged", "slow"]},
    ]
    path = written(tmp_path, seeds=[0], stages=stages, rows=rows, findings=[])
    study([load_study(path)], tmp_path / "out", ONE)
    folder = tmp_path / "out" / "one"
    about = read_json(folder / "about.json")
    assert about["chosen"] == {"chosen": "slow"}
    assert about["choices"]["chosen"]["fast-merged"] is None
    assert about["choices"]["chosen"]["slow"] > 0
    assert (about["missing"], about["diverged"]) == ([], ["fast, seed 0"])
    assert "without a value:** fast (seed 0)." in (folder / "report.md").read_text("utf-8")
    logs = {p: p.stat().st_size for p in (tmp_path / "out" / "stages").glob("*.log")}
    study([load_study(path)], tmp_path / "out", ONE)  # it is not tried again
    assert {p: p.stat().st_size for p in (tmp_path / "out" / "stages").glob("*.log")} == logs


@pytest.mark.usefixtures("warm_workers")
def test_what_a_guard_has_ended_is_done_where_the_guard_is_another(tmp_path: Path) -> None:
    """A guard changes no key, and what it had ended stayed without a value for ever."""
    guarded = {"task": "sid", "guard": "stop", "guard_similarity": 0.9999, "evaluate_every": 1}
    rows = [BASE["rows"][0], {"name": "tuned", "title": "-", "encoder": "sid-stable"}]

    def diverged(**guard: object) -> list[str]:
        stages = [{"name": "sid-stable", "finetune": guarded | guard}]
        path = written(tmp_path, seeds=[0], stages=stages, rows=rows, findings=[])
        study([load_study(path)], tmp_path / "out", ONE)
        found: list[str] = read_json(tmp_path / "out" / "one" / "about.json")["diverged"]
        return found

    assert diverged() == diverged() == ["tuned, seed 0"]
    assert diverged(guard_similarity=0.01) == []
    assert diverged() == []  # it is done


@pytest.mark.usefixtures("warm_workers")
def test_a_study_is_complete_before_the_next_begins(tmp_path: Path) -> None:
    """Its choices too, whose further seeds are known only when the first one is done."""
    rows = [BASE["rows"][0], {"name": "chosen", "title": "-", "choose": ["at-0.25", "at-0.75"]}]
    other = {"name": "two", "seeds": [7], "rows": BASE["rows"][:1], "findings": []}
    studies = [written(tmp_path, rows=rows), written(tmp_path, **other)]
    with all_that_is_said() as said:
        study([load_study(path) for path in studies], tmp_path / "out", ONE)
    last = [number for number, line in enumerate(said) if "seed 1" in line][-1]
    assert last < said.index("study two: 1 job to do")


@faults
@pytest.mark.usefixtures("warm_workers")
def test_killed_and_called_again_it_ends_with_the_same_table(done: Path, tmp_path: Path) -> None:
    one = load_study(written(tmp_path, seeds=[0], rows=BASE["rows"][:2], findings=[]))
    command = start_fork(lambda: study([one], tmp_path / "out", ONE))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").rglob(RECORD)) and time.monotonic() < deadline:
        time.sleep(0.05)
    (worker,) = [
        one
        for one in psutil.Process(command).children(recursive=True)
        if "LokyProcess" in " ".join(one.cmdline())
    ]
    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    worker.wait(timeout=5)
    finished = list((tmp_path / "out").rglob(RECORD))
    assert finished, "nothing was done before the kill"
    assert not (tmp_path / "out" / "one").exists()
    study([one], tmp_path / "out", ONE)
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
        (
            {"findings": [{"says": "x", "pairs": [["tuned", "theta0"]], "metric": "sid ac"}]},
            "'sid acc'",
        ),
        ({"rows": [{"name": "theta0", "title": "a", "encoder": "theta0/encoder"}]}, "no encoder"),
        (
            {
                "rows": [
                    *BASE["rows"],
                    {"name": "a", "title": "a", "encoder": "sid-stable/encoder-at-9"},
                ]
            },
            "leaves no encoder 'encoder-at-9'; did you mean",
        ),
        (
            {"stages": [{"name": "a", "finetune": {"keep_at": 0.8, "patience": 2}}]},
            "stage a: it may end before it keeps an encoder",
        ),
        ({"stages": [{"name": "a", "base": "theta0", "finetune": {}}]}, "only a merge has a base"),
        ({"stages": [{"name": "a", "finetune": {"seed": 3}}]}, "seed is set by the study"),
        ({"evaluate": {**BASE["evaluate"], "encoders": []}}, "encoders is set by the study"),
        ({"evaluate": {**BASE["evaluate"], "tasks": 3}}, "no list of tasks"),
        ({"further": ["sid"]}, "'sid' is given twice"),
        ({"seeds": [0, 0]}, "0 is given twice"),
        ({"name": "stages"}, "cannot be named"),
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


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"name": "a", "finetune": {"task": "sidd"}}, "unknown task 'sidd'"),
        ({"name": "a", "of": "theta0", "merge": {"alpha": "0:1:0.5"}}, "merges with one alpha"),
        ({"name": "a", "of": "theta0", "merge": {"alpha": "much"}}, "much"),
    ],
)
def test_a_stage_that_makes_no_sense_is_found_before_anything_runs(
    tmp_path: Path, stage: dict[str, Any], message: str
) -> None:
    rows = [BASE["rows"][0], {"name": "a", "title": "a", "encoder": "a"}]
    path = written(tmp_path, stages=[stage], rows=rows, findings=[])
    with pytest.raises(SettingsError, match=message):
        study([load_study(path)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_is_not_there_is_found_before_anything_runs(tmp_path: Path) -> None:
    path = written(tmp_path, encoders={"theta0": str(tmp_path / "nowhere")})
    with pytest.raises(CheckpointError, match="no such encoder"):
        study([load_study(path)], tmp_path / "out")
    assert not (tmp_path / "out" / "stages").exists()


@pytest.mark.parametrize("given", [{"workers": -1}, {"threads": 0}, {"launcher": "pbs"}])
def test_somebody_must_do_the_work(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        read_launch([], **given)


def test_two_studies_of_one_name_would_share_a_folder(tmp_path: Path) -> None:
    one = load_study(written(tmp_path))
    with pytest.raises(SettingsError, match="two studies are named 'one'"):
        study([one, one], tmp_path / "out")


def test_what_is_said_of_further_tasks_is_no_part_of_the_others(tmp_path: Path) -> None:
    settings = {**BASE["evaluate"], "tasks": "sid", "steps": {"sid": 3, "asr": 5}}
    settings["data"] = {"default": "synthetic:tiny", "asr": "synthetic:demo"}
    plain = {**BASE["evaluate"], "steps": {"sid": 3}, "data": {"default": "synthetic:tiny"}}

    def evaluations(**changes: Any) -> list[Job]:
        jobs = plan_studies([load_study(written(tmp_path, **changes))], tmp_path).jobs.values()
        return [job for job in jobs if job.verb == "evaluate"]

    more, fewer = evaluations(evaluate=settings, further=["asr"]), evaluations(evaluate=plain)
    said = {job.settings.tasks: job.settings.steps for job in more}  # type: ignore[attr-defined]
    assert said == {("sid",): {"sid": 3}, ("asr",): {"asr": 5}}
    assert {job.key for job in fewer} < {job.key for job in more}


def test_data_of_a_task_that_no_row_is_evaluated_on_is_a_mistake(tmp_path: Path) -> None:
    data = {"default": "synthetic:tiny", "ks": "synthetic:demo"}
    settings = {**BASE["evaluate"], "data": data}
    one = load_study(written(tmp_path, evaluate=settings, further=["asr"]))
    with pytest.raises(SettingsError, match="'ks', which is not in tasks"):
        plan_studies([one], tmp_path)


def test_keys_follow_the_files_that_only_some_stages_read(tmp_path: Path) -> None:
    def key(**finetune: Any) -> str:
        stage = {"name": "a", "of": "theta0", **finetune}
        rows = [BASE["rows"][0], {"name": "a", "title": "a", "encoder": "a"}]
        one = load_study(written(tmp_path, seeds=[0], stages=[stage], rows=rows, findings=[]))
        jobs = plan_studies([one], tmp_path / "out").jobs.values()
        return next(job.key for job in jobs if job.name == "a, seed 0")

    def made() -> tuple[str, ...]:
        rounds = [{"steps": 3, "layer": 1, "teacher": str(tmp_path / "run")}]
        pretrained = {"data": "synthetic:tiny", "iterations": rounds}
        merged = {"method": "fisher", "statistics": [str(tmp_path / "a.safetensors")]}
        return key(pretrain=pretrained), key(merge=merged)

    def write(text: str) -> tuple[str, ...]:
        (tmp_path / "run" / "encoder").mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / "head.safetensors").write_text("the same")
        for file in ("run/encoder/config.json", "run/encoder/model.safetensors", "a.safetensors"):
            (tmp_path / file).write_text(text)
        return made()

    before, same, after = write("one"), write("one"), write("two")
    assert before == same
    assert all(old != new for old, new in zip(before, after, strict=True))


MOMENTS = {  # of every stage; the launcher that is tried with it each time, all by `faults`
    "finetune-[^/]+/begun.json": "",
    "update-3.pt": "dask",
    "finetune-[^/]+/speechft.json": "",
    "merge-[^/]+/model.safetensors": "slurm",
    "merge-[^/]+/speechft.json": "",
    "evaluate-[^/]+/begun.json": "",
    "cells/sid": "",
    "results.jsonl": "",
    "evaluate-[^/]+/speechft.json": "",
}


@pytest.mark.parametrize(
    ("launcher", "moments"),
    [
        *((launcher, [moment]) for moment, launcher in MOMENTS.items() if launcher),
        *(
            pytest.param(launcher, list(MOMENTS), marks=faults)
            for launcher in ("local", "slurm", "dask")
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} killed",
)
def test_a_process_killed_in_any_stage_costs_no_byte(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, moments: list[str]
) -> None:
    row = {"name": "merged", "title": "θ̂", "encoder": "at-0.25", "before": "merged"}
    one = load_study(written(tmp_path, seeds=[0], rows=[row], findings=[]))
    orders = order_kills(tmp_path / "orders", moments, monkeypatch)
    with backend(launcher, tmp_path, monkeypatch) as launch, all_that_is_said() as said:
        while left := len(list(orders.iterdir())):
            # Work whose second process is killed, too, ends the study with a message.
            with suppress(SpeechFTError) if left > 1 else nullcontext():
                study([one], tmp_path / "out", launch)
            assert len(list(orders.iterdir())) < left
        study([one], tmp_path / "out", launch)
    assert launcher == "dask" or "tried once more" in " ".join(said)
    whole, found = (results_of(place / "out" / "stages") for place in (done, tmp_path))
    assert len(found) == 4 + 3  # θ', its best, θ̂, a table; three heads: of both, and of the run
    assert found == {name: whole[name] for name in found}
    assert len(read_jsonl(tmp_path / "out" / "one" / "measurements.jsonl")) == 1


def test_a_study_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "studies").mkdir()
    written(tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    assert load_study("one").name == "one"
    with pytest.raises(SettingsError, match="no such study") as caught:
        load_study("onne")
    assert "one" in str(caught.value.hint)
