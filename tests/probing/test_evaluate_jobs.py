"""The matrix of encoders, tasks and seeds as independent jobs: failures, processes, SLURM."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from itertools import product

import pytest
from evaluate_fixture import CONFIG, evaluation, write_tones

from speechft.core.errors import CheckpointError, DataError, SettingsError, SpeechFTError
from speechft.core.files import read_json, read_jsonl
from speechft.encoders import build_encoder
from speechft.probing.evaluate import evaluate
from speechft.probing.failed_jobs import Failure, raise_failures, reported

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
    own = {"encoders": (("one", home / "one"),), "tasks": ("pr", "sid")}
    return evaluation(home, out, **{**own, **values})


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
    mistake = reported(DataError("no label", where="here"), "a", "pr", 0)
    crash = reported(ValueError("boom"), "a", "er", 1)
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
    assert Failure(**asdict(mistake)) == mistake
