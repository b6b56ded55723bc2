"""The matrix of encoders, tasks and seeds as independent jobs: failures, processes, SLURM."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from itertools import product
from types import SimpleNamespace

import pytest
from evaluate_fixture import CONFIG, write_tones

from speechft.core.errors import CheckpointError, DataError, SettingsError, SpeechFTError
from speechft.core.files import read_json, read_jsonl
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.probing import slurm
from speechft.probing.data import read_all
from speechft.probing.evaluate import EvaluateSettings, evaluate
from speechft.probing.failures import Failure, failure, raise_failures
from speechft.probing.job import Workplace
from speechft.probing.shares import Share, choose_device, this_share

UTTERANCES = 12 + 4 + 6


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    write_tones(folder / "data")
    write_tones(folder / "other", seed=1)
    for seed, name in enumerate(("one", "two")):
        build_encoder(dict(CONFIG), seed=seed).save(folder / name)
    return folder


def settings(home, out, **values):
    base = {
        "encoders": (("one", home / "one"),),
        "data": str(home / "data" / "table.jsonl"),
        "out": out,
        "tasks": ("pr", "sid"),
        "steps": 4,
        "batch_size": 4,
        "checks": 2,
        "learning_rates": 0.01,
        "workers": 1,
    }
    return parse_settings(EvaluateSettings, {**base, **values}, where="test")


@pytest.fixture(scope="module")
def done(home):
    return evaluate(settings(home, home / "done"))


def results(folder):
    return (folder / "results.jsonl").read_bytes()


def passes(folder):
    encodings = read_json(folder / "timing.json")["encoding"]
    return {name: about["encoder_passes"] for name, about in encodings.items()}


def test_one_encoder_pass_per_utterance_for_all_tasks_seeds_and_runs(home, tmp_path):
    store = tmp_path / "store"
    rates = (0.1, 0.01, 0.001)
    first = {"tasks": "pr,sid,er", "seeds": (0, 1), "store": store, "learning_rates": rates}
    assert passes(evaluate(settings(home, tmp_path / "a", **first))) == {"one": UTTERANCES}
    grid = read_jsonl(tmp_path / "a" / "grid.jsonl")
    found = sorted((g["task"], g["seed"], g["learning_rate"], g["step"]) for g in grid)
    assert found == sorted(product(("pr", "sid", "er"), (0, 1), rates, (2, 4)))
    assert passes(evaluate(settings(home, tmp_path / "b", tasks="asr", store=store))) == {"one": 0}
    memory = evaluate(settings(home, tmp_path / "c", tasks="asr"))
    assert passes(memory) == {"one": UTTERANCES}
    assert results(memory) == results(tmp_path / "b")


def test_every_task_reads_its_own_data(home, done, tmp_path):
    data = {"pr": str(home / "data" / "table.jsonl"), "sid": str(home / "other")}
    shutil.copy(home / "other" / "table.jsonl", home / "other" / "copy.jsonl")
    data["sid"] = str(home / "other" / "copy.jsonl")
    out = evaluate(settings(home, tmp_path / "both", data=data))
    pr, sid = read_jsonl(out / "results.jsonl")
    assert (pr["data"], sid["data"]) == ("table.jsonl", "copy.jsonl")
    assert pr == read_jsonl(done / "results.jsonl")[0]
    alone = evaluate(settings(home, tmp_path / "alone", data=data["sid"], tasks="sid"))
    assert [sid] == read_jsonl(alone / "results.jsonl")
    hashes = read_json(out / "speechft.json")["data"]
    assert set(hashes) >= {"table.jsonl/train", "copy.jsonl/train"}


def test_a_failed_job_is_told_at_the_end_and_the_rest_goes_on(home, done, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(home / "data", data)
    table = data / "table.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    broken = [{k: v for k, v in row.items() if k != "phonemes"} for row in rows]
    table.write_text("".join(json.dumps(row) + "\n" for row in broken))
    given = {"data": str(table), "tasks": "pr,sid,er"}
    out = tmp_path / "out"
    with pytest.raises(DataError, match="phonemes"):
        evaluate(settings(home, out, **given))
    assert "one pr seed 0 failed, the rest goes on" in caplog.text
    assert [r["task"] for r in read_jsonl(out / "results.jsonl")] == ["sid", "er"]
    assert not (out / "speechft.json").exists()
    (told,) = read_json(out / "failures.json")
    assert (told["encoder"], told["task"], told["seed"]) == ("one", "pr", 0)
    times = {c: c.stat().st_mtime_ns for c in (out / "cells").glob("*/cell.json")}
    with pytest.raises(DataError):
        evaluate(settings(home, out, **given))
    assert times == {c: c.stat().st_mtime_ns for c in (out / "cells").glob("*/cell.json")}
    good = evaluate(settings(home, out, **given | {"tasks": "sid,er"}))
    assert times == {c: c.stat().st_mtime_ns for c in (good / "cells").glob("*/cell.json")}
    assert passes(good) == {"one": 0}
    assert not (out / "failures.json").exists()


def test_wrong_labels_of_any_split_are_told_before_an_encoder_reads(home, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(home / "data", data)
    table = data / "table.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    last = [row for row in rows if row["split"] == "test"][-1]
    last["emotion"] = "unheard of"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (
        caplog.at_level("INFO"),
        pytest.raises(DataError, match=r"'unheard of'[\s\S]*not occur in the training"),
    ):
        evaluate(settings(home, tmp_path / "out", data=str(table), tasks="sid,er"))
    lines = caplog.text.splitlines()
    (told,) = [n for n, line in enumerate(lines) if "er seed 0 failed" in line]
    (read,) = [n for n, line in enumerate(lines) if "one read " in line]
    assert told < read  # SID went on
    caplog.clear()
    with pytest.raises(DataError), caplog.at_level("INFO"):
        evaluate(settings(home, tmp_path / "alone", data=str(table), tasks="er"))
    assert "one read " not in caplog.text


def test_data_that_does_not_fit_the_store_stops_no_other(home, tmp_path, caplog):
    copy = tmp_path / "copy.jsonl"
    shutil.copytree(home / "data", tmp_path, dirs_exist_ok=True)
    (tmp_path / "table.jsonl").rename(copy)
    given = {"data": (f"sid={home / 'data' / 'table.jsonl'}", f"pr={copy}"), "tasks": "sid,pr"}
    with caplog.at_level("INFO"), pytest.raises(SettingsError, match=r"do not fit[\s\S]*store_gb"):
        evaluate(settings(home, tmp_path / "out", store_gb=4e-5, **given))
    assert [r["task"] for r in read_jsonl(tmp_path / "out" / "results.jsonl")] == ["sid"]
    lines = caplog.text.splitlines()
    needs = [n for n, line in enumerate(lines) if "hidden states of " in line]
    assert len(needs) == 2
    assert max(needs) < min(n for n, line in enumerate(lines) if "one read " in line)


def test_an_encoder_that_cannot_be_read_stops_no_other(home, tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    shutil.copytree(home / "one", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    encoders = (("gone", tmp_path / "empty"), ("one", home / "one"), ("bad", tmp_path / "damaged"))
    out = tmp_path / "out"
    with (
        caplog.at_level("INFO"),
        pytest.raises(CheckpointError, match=r"2 of 6 jobs failed") as caught,
    ):
        evaluate(settings(home, out, encoders=encoders))
    assert "gone:" in str(caught.value)
    assert "bad:" in str(caught.value)
    assert caught.value.exit_code == 4
    assert {r["encoder"] for r in read_jsonl(out / "results.jsonl")} == {"one"}
    said = [r.getMessage() for r in caplog.records if " done" in r.getMessage()]
    assert said == [
        "evaluate: 0 done, 2 failed, 4 to do",
        "evaluate: 2 done, 2 failed, 2 to do",
        "evaluate: 2 done, 4 failed",
    ]


@pytest.mark.parametrize("launcher", ["local", "slurm"])
def test_an_encoder_that_is_not_there_is_told_before_any_work(
    home, tmp_path, monkeypatch, launcher
):
    monkeypatch.setattr("speechft.probing.evaluate.read_all", lambda *_: 1 / 0)
    given = {"launcher": launcher, "store": tmp_path / "store"}
    encoders = (("one", home / "one"), ("gone", home / "nothing"), "tiny-hubert")
    with pytest.raises(CheckpointError, match="no such encoder") as caught:
        evaluate(settings(home, tmp_path / "out", encoders=encoders, **given))
    assert caught.value.where == str(home / "nothing")
    between = {"base": str(home / "one"), "tuned": "tiny-huber", "alpha": 0.5}
    with pytest.raises(CheckpointError, match=r"2 of 4 encoders are not there") as caught:
        evaluate(settings(home, tmp_path / "out", encoders=(*encoders, between), **given))
    assert f"{home / 'nothing'}: there is no such encoder" in str(caught.value)
    assert "tiny-huber: there is no such encoder" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_crash_is_not_hidden_by_a_users_mistake():
    mistake = failure(DataError("no label", where="here"), "a", "pr", 0)
    crash = failure(ValueError("boom"), "a", "er", 1)
    assert crash.reason == "ValueError: boom"
    with pytest.raises(DataError, match="no label") as alone:
        raise_failures([mistake], 4)
    assert alone.value.where == "here"
    with pytest.raises(SpeechFTError, match=r"(?s)2 of 4.*a pr seed 0: no label.*a er seed 1: V"):
        raise_failures([mistake, crash], 4)
    with pytest.raises(RuntimeError, match="boom"):
        raise_failures([crash], 4)
    with pytest.raises(RuntimeError, match=r"(?s)11 of 20 jobs.*and 3 more"):
        raise_failures([crash] * 11, 20)
    raise_failures([], 4)
    assert Failure(**mistake.to_dict()) == mistake


def test_processes_of_accelerate_share_the_work(home, done, tmp_path):
    values = settings(home, tmp_path / "out", store=tmp_path / "store").model_dump(mode="json")
    code = (
        "import json, sys, torch; torch.set_num_threads(1)\n"
        "from speechft.hidden import store\n"
        "store.PIECE_SECONDS = 0.1\n"
        "from speechft.probing.evaluate import EvaluateSettings, evaluate\n"
        "from speechft.probing import job\n"
        "found = []\n"
        "run = job.Workplace.run\n"
        "def counting(*args, **more):\n"
        "    found.append(run(*args, **more)); return found[-1]\n"
        "job.Workplace.run = counting\n"
        "evaluate(EvaluateSettings.model_validate(json.loads(sys.argv[1])))\n"
        "print(sum(o.passes.utterances for o in found))"
    )
    processes = []
    for rank in range(2):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, json.dumps({**values, "batch_seconds": 1.0})]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        )
    counts = [int(process.communicate(timeout=200)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(counts) == UTTERANCES
    alone = evaluate(settings(home, tmp_path / "alone", batch_seconds=1.0))
    assert results(tmp_path / "out") == results(alone)


def test_several_processes_need_a_store(home, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert this_share() == Share(1, 4, 1)
    with pytest.raises(SettingsError, match="share their work through a store"):
        evaluate(settings(home, tmp_path))
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert this_share() == Share(1, 4, 0)
    monkeypatch.setenv("WORLD_SIZE", "x")
    assert this_share().alone


def test_each_process_gets_its_own_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert choose_device("cuda", Share(5, 8, 1)) == "cuda:1"
    assert choose_device("cuda", Share()) == "cuda"
    assert choose_device("cpu", Share(5, 8, 1)) == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert choose_device("auto") == "cuda"


class FakeExecutor:
    """Stands for submitit's: jobs run when their result is asked for."""

    made: list = []  # noqa: RUF012

    def __init__(self, folder, cluster=None):
        self.folder, self.cluster, self.options, self.jobs = folder, cluster, {}, []
        self.made.append(self)

    def update_parameters(self, **options):
        if "slurm_partitoin" in options:
            raise NameError("Unknown argument 'partitoin'")
        self.options = options

    @contextlib.contextmanager
    def batch(self):
        yield

    def submit(self, function, *args):
        json.dumps(args)  # what is sent must be plain
        self.jobs.append(args)
        if args[2:] == ("sid", 1) and self.options.get("name") == "lost":
            return SimpleNamespace(done=lambda: True, result=lambda: 1 / 0)
        return SimpleNamespace(done=lambda: True, result=lambda: function(*args))


@pytest.fixture
def submitit(monkeypatch):
    monkeypatch.setattr(FakeExecutor, "made", [])
    monkeypatch.setitem(sys.modules, "submitit", SimpleNamespace(AutoExecutor=FakeExecutor))
    return FakeExecutor


def test_slurm_gets_one_job_per_encoder_task_and_seed(home, tmp_path, submitit):
    given = {
        "encoders": (("one", home / "one"), ("two", home / "two")),
        "seeds": (0, 1),
        "tasks": "sid,pr",
        "store": tmp_path / "store",
    }
    plain = evaluate(settings(home, tmp_path / "plain", **given))
    far = {"launcher": "slurm", "slurm": {"partition": "gpu", "timeout_min": 9}}
    given |= {"store": tmp_path / "far"}
    out = evaluate(settings(home, tmp_path / "out", **given, **far))
    (executor,) = submitit.made
    assert executor.cluster == "slurm"
    assert executor.options == {
        "name": "speechft-evaluate",
        "slurm_partition": "gpu",
        "timeout_min": 9,
    }
    assert [job[1:] for job in executor.jobs] == [
        (n, task, seed) for n in (0, 1) for task in ("sid", "pr") for seed in (0, 1)
    ]
    assert results(out) == results(plain)
    # The first job needs time means alone and writes the frames too, which another will need.
    assert passes(out) == {"one": UTTERANCES, "two": UTTERANCES}
    shutil.rmtree(next((out / "cells").glob("sid-1-*")))
    (out / "speechft.json").unlink()
    evaluate(settings(home, out, **given, **far))
    assert [job[2:] for job in submitit.made[-1].jobs] == [("sid", 1)]
    assert results(out) == results(plain)


def test_a_lost_job_is_told_and_the_others_are_kept(home, tmp_path, submitit):
    (tmp_path / "empty").mkdir()
    encoders = (("one", home / "one"), ("gone", tmp_path / "empty"))
    chosen = settings(
        home,
        tmp_path / "out",
        encoders=encoders,
        seeds=(0, 1),
        store=tmp_path / "store",
        launcher="slurm",
        slurm={"name": "lost"},
    )
    with pytest.raises(CheckpointError, match=r"(?s)2 of 8 jobs.*one sid seed 1: ZeroDiv.*gone"):
        evaluate(chosen)
    made = {(r["task"], r["seed"]) for r in read_jsonl(tmp_path / "out" / "results.jsonl")}
    assert made == {("pr", 0), ("pr", 1), ("sid", 0)}


def test_wrong_options_and_a_missing_package_are_named(home, tmp_path, submitit, monkeypatch):
    far = {"launcher": "slurm", "store": tmp_path / "store"}
    with pytest.raises(SettingsError, match="partitoin"):
        evaluate(settings(home, tmp_path, **far, slurm={"partitoin": "gpu"}))
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(SettingsError, match=r"speechft\[slurm\]"):
        evaluate(settings(home, tmp_path, **far))


def test_jobs_run_through_submitit_itself(home, done, tmp_path):
    real = pytest.importorskip("submitit")
    chosen = settings(home, tmp_path / "out", store=tmp_path / "store", launcher="slurm")
    place = Workplace(chosen, read_all(chosen))
    executor = real.AutoExecutor(folder=tmp_path / "jobs", cluster="debug")
    (outcome,) = slurm.run_with_submitit(place, executor)
    assert not outcome.failures
    assert outcome.keys == [r["cell"] for r in read_jsonl(done / "results.jsonl")]
    assert all((tmp_path / "out" / "cells" / key / "cell.json").is_file() for key in outcome.keys)
