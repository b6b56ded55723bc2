"""`speechft evaluate` in several processes, as SLURM's jobs and on a dask cluster."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import submitit
from evaluate_fixture import CONFIG, evaluation, write_tones
from worker_jobs import die, die_once, wait_and_note

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.files import read_json, read_jsonl
from speechft.core.logging import set_up_logging
from speechft.core.worker_processes import WorkerDiedError
from speechft.encoders import build_encoder
from speechft.pipeline import parallel_evaluation
from speechft.pipeline.parallel_evaluation import EvaluateSettings, evaluate
from speechft.pipeline.slurm import SlurmExecutor
from speechft.probing.inputs import read_all
from speechft.probing.job import Evaluator, Outcome

UTTERANCES = 12 + 4 + 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    write_tones(folder / "data")
    for seed, name in enumerate(("one", "two")):
        build_encoder(dict(CONFIG), seed=seed).save(folder / name)
    return folder


def settings(home: Path, out: Path, **values: Any) -> EvaluateSettings:
    own = {"encoders": (("one", home / "one"),), "tasks": ("pr", "sid")}
    return evaluation(home, out, **{**own, **values})


@pytest.fixture(scope="module")
def done(home: Path) -> Path:
    return evaluate(settings(home, home / "done", seeds=(0, 1)))


def results(folder: Path) -> bytes:
    return (folder / "results.jsonl").read_bytes()


def passes(folder: Path) -> dict[str, int]:
    encodings = read_json(folder / "timing.json")["encoding"]
    return {name: about["encoder_passes"] for name, about in encodings.items()}


@pytest.mark.usefixtures("warm_workers")
def test_several_processes_share_one_encoder(home: Path, done: Path, tmp_path: Path) -> None:
    """Its passes, too: every utterance is read once by any of them."""
    out = evaluate(settings(home, tmp_path / "out", seeds=(0, 1), workers=2))
    assert results(out) == results(done)
    assert passes(out) == {"one": UTTERANCES}
    assert not (out / parallel_evaluation.STATES).exists()


@pytest.mark.usefixtures("warm_workers")
def test_many_encoders_are_shared_out_whole(
    home: Path, done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(0)
    (tmp_path / "empty").mkdir()
    encoders = (("gone", tmp_path / "empty"), ("one", home / "one"), ("two", home / "two"))
    given = {"seeds": (0, 1), "encoders": encoders, "workers": 2}
    with pytest.raises(CheckpointError, match="no encoder"):
        evaluate(settings(home, tmp_path / "out", **given))
    found = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert [r for r in found if r["encoder"] == "one"] == read_jsonl(done / "results.jsonl")
    assert {r["encoder"] for r in found} == {"one", "two"}
    said = capsys.readouterr().err
    jobs = 3 * 2 * 2
    # One count, of encoders times tasks times seeds; a process has all jobs of an encoder.
    counts = re.findall(r"evaluate: (\d+) of (\d+)", said)
    assert {total for _, total in counts} == {str(jobs)}
    ended = re.findall(r"evaluate: (\d+) of \d+ jobs have ended", said)
    assert [int(n) for n in ended] == [jobs // 3, 2 * jobs // 3, jobs]
    assert "evaluate: heads of size mini, updates × learning rates: " in said


@pytest.mark.parametrize("given", [{"keep": "pooled"}, {"store_gb": 1e-6}])
def test_states_that_no_folder_can_hold_are_not_shared(
    home: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    chosen = settings(home, tmp_path / "out", workers=2, **given)
    evaluator = Evaluator(chosen, read_all(chosen))
    jobs, _, store = parallel_evaluation._jobs(evaluator, 2, tmp_path / "states", [Outcome()])
    assert (jobs, store) == ([parallel_evaluation._Job(0)], None)


def test_slurm_gets_one_job_per_encoder_task_and_seed(
    home: Path, done: Path, tmp_path: Path, slurm: Path
) -> None:
    far = {"launcher": "slurm", "store": tmp_path / "store", "slurm": {"timeout_min": 9}}
    out = evaluate(settings(home, tmp_path / "out", seeds=(0, 1), **far))
    assert results(out) == results(done)
    assert passes(out) == {"one": UTTERANCES}
    assert len(list(slurm.glob("*.pid"))) == 4
    assert "--time=9" in next((out / "jobs").glob("*_submission.sh")).read_text()
    # Only what is missing is submitted.
    shutil.rmtree(next((out / "cells").glob("sid-1-*")))
    (out / "results.jsonl").unlink()
    (out / "speechft.json").unlink()
    evaluate(settings(home, out, seeds=(0, 1), **far))
    assert len(list(slurm.glob("*.pid"))) == 5
    assert results(out) == results(done)


def test_a_dask_cluster_does_the_same(home: Path, done: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=None, memory_limit=0
    ) as cluster:
        far = {"launcher": "dask", "dask": {"address": cluster.scheduler_address}}
        out = evaluate(settings(home, tmp_path / "out", seeds=(0, 1), **far))
    assert results(out) == results(done)
    assert passes(out) == {"one": UTTERANCES}
    assert not (out / parallel_evaluation.STATES).exists()


def test_wrong_options_and_missing_packages_are_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = {"store": tmp_path / "store"}
    wrong = {"launcher": "slurm", "slurm": {"cluster": "local", "partitoin": "x"}, **store}
    with pytest.raises(SettingsError, match="partitoin"):
        evaluate(settings(home, tmp_path / "out", **wrong))
    with pytest.raises(SettingsError, match=r"dask\.address"):
        evaluate(settings(home, tmp_path / "out", launcher="dask", **store))
    with pytest.raises(SettingsError, match="no dask cluster"):
        address = {"address": "nonsense://x"}
        evaluate(settings(home, tmp_path / "out", launcher="dask", dask=address, **store))
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    for launcher, package in (("slurm", "submitit"), ("dask", "distributed")):
        with pytest.raises(SettingsError, match=f"pip install '{package}>="):
            evaluate(settings(home, tmp_path / "out", launcher=launcher, **store))


def test_a_job_that_still_runs_is_waited_for_and_not_submitted_again(
    tmp_path: Path, slurm: Path
) -> None:
    note, go = str(tmp_path / "note"), tmp_path / "go"
    first, second = (SlurmExecutor(tmp_path / "jobs", {}) for _ in range(2))
    one = first.submit(wait_and_note, note, str(go))
    while not Path(note).exists():
        time.sleep(0.05)
    with second:
        other = second.submit(wait_and_note, note, str(go))
        go.touch()
        assert (one.result(60), other.result(60)) == (1, 1)
    assert len(list(slurm.glob("*.pid"))) == 1
    first.shutdown()


def test_a_job_of_slurm_that_dies_is_tried_once_more(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitit.Job, "_results_timeout_s", 1)
    with SlurmExecutor(tmp_path / "jobs", {}) as workers:
        once = workers.submit(die_once, tmp_path / "died")
        lost = workers.submit(die)
        assert once.result(60) == "done"
        with pytest.raises(WorkerDiedError, match="tried again"):
            lost.result(60)
    assert len(list(slurm.glob("*.pid"))) == 4
