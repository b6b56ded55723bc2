from __future__ import annotations

import itertools
import json
import os
import shutil
import signal

import pytest
import torch
from evaluate_fixture import CONFIG, SIZES, relabel, write_tones
from kills import is_killed

from speechft.cli.app import main
from speechft.core.artifact import Artifact
from speechft.core.errors import DataError, IncompatibleModelsError, SettingsError
from speechft.core.files import read_json, read_jsonl, write_jsonl
from speechft.core.settings import parse_settings
from speechft.data.identity import split_ids
from speechft.encoders import build_encoder, load_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing import job
from speechft.probing.evaluate import evaluate
from speechft.probing.inputs import open_encoder, read_splits
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EncoderSpec, EvaluateSettings
from speechft.tasks import TASKS


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two encoders with one front end, and the data."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_tones(folder / "data")
    encoder = build_encoder(dict(CONFIG), seed=0)
    encoder.save(folder / "one")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in encoder.encoder_parameters().values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    encoder.save(folder / "two")
    build_encoder({**CONFIG, "hidden_size": 8}, seed=0).save(folder / "narrow")
    return folder


def settings(home, out, **values):
    base = {
        "encoders": (("θ0", home / "one"), ("θ'", home / "two")),
        "data": str(home / "data" / "table.jsonl"),
        "out": out,
        "tasks": ("pr", "sid"),
        "steps": 6,
        "batch_size": 4,
        "checks": 2,
        "learning_rates": {"sid": (0.1, 0.01)},
        "workers": 1,
    }
    return parse_settings(EvaluateSettings, {**base, **values}, where="test")


@pytest.fixture(scope="module")
def done(home):
    return evaluate(settings(home, home / "done"))


def test_results_hold_one_record_per_metric_in_the_order_of_the_settings(done):
    records = read_jsonl(done / "results.jsonl")
    keys = [(r["encoder"], r["task"], r["metric"], r["direction"]) for r in records]
    assert keys == [
        (name, *rest)
        for name in ("θ0", "θ'")
        for rest in (("pr", "per", "lower"), ("sid", "acc", "higher"))
    ]
    for record in records:
        assert record["split"] == "test"
        assert record["items"] == SIZES["test"]
        assert record["seed"] == 0
        assert record["suite"] == "own"
        assert record["step"] in (3, 6)
        assert record["unreachable"] == {"train": 0, "dev": 0, "test": 0}
    assert len({r["encoder_hash"] for r in records}) == 2
    assert records[0]["data_hash"] == records[2]["data_hash"]


def test_grid_holds_every_rate_and_check_and_marks_the_chosen_one(done):
    grid = read_jsonl(done / "grid.jsonl")
    sid = [g for g in grid if g["task"] == "sid" and g["encoder"] == "θ0"]
    assert [(g["learning_rate"], g["step"]) for g in sid] == [
        (0.1, 3), (0.01, 3), (0.1, 6), (0.01, 6)
    ]  # fmt: skip
    (chosen,) = [g for g in sid if g["chosen"]]
    record = next(r for r in read_jsonl(done / "results.jsonl") if r["task"] == "sid")
    assert (chosen["learning_rate"], chosen["step"]) == (record["learning_rate"], record["step"])
    assert chosen["acc"] == max(g["acc"] for g in sid)


@pytest.mark.parametrize("split", ["test", "dev"])
def test_only_the_labels_of_dev_choose(home, done, tmp_path, split):
    shutil.copytree(home / "data", tmp_path / "data")
    table = relabel(tmp_path / "data" / "table.jsonl", split)
    chosen = settings(home, tmp_path / "out", data=str(table), encoders=(("θ0", home / "one"),))
    out = evaluate(chosen)

    def both(file, task):
        records = (read_jsonl(folder / file) for folder in (done, out))
        return [[r for r in own if (r["encoder"], r["task"]) == ("θ0", task)] for own in records]

    for task in ("pr", "sid"):
        before, after = both("grid.jsonl", task)
        assert (before == after) == (split == "test")
        (old,), (new,) = both("results.jsonl", task)
        assert split == "dev" or old["value"] != new["value"]


def test_predictions_give_the_score_back(done):
    for record in read_jsonl(done / "results.jsonl"):
        rows = read_jsonl(done / "cells" / record["cell"] / "predictions.jsonl")
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
        kind = TASKS[record["task"]]
        task = kind([]) if record["task"] == "pr" else kind({"speaker": ["high", "low"]})
        again = task.score([r["prediction"] for r in rows], [r["reference"] for r in rows])
        assert again[record["metric"]] == pytest.approx(record["value"], abs=1e-5)


def test_a_second_call_does_nothing_and_a_changed_encoder_is_noticed(home, tmp_path):
    shutil.copytree(home / "one", tmp_path / "enc")
    chosen = settings(home, tmp_path / "out", encoders=(str(tmp_path / "enc"),), tasks="sid")
    evaluate(chosen)
    results = tmp_path / "out" / "results.jsonl"
    before = results.stat().st_mtime_ns
    evaluate(chosen)
    assert results.stat().st_mtime_ns == before
    shutil.copy(home / "two" / "model.safetensors", tmp_path / "enc")
    old = results.read_bytes()
    evaluate(chosen)
    assert results.read_bytes() != old


def test_changed_data_is_noticed(home, tmp_path):
    shutil.copytree(home / "data", tmp_path / "data")
    table, out = tmp_path / "data" / "table.jsonl", tmp_path / "out"
    chosen = settings(home, out, data=str(table), tasks="sid", encoders=(str(home / "one"),))
    hashes = []
    for _ in range(2):
        evaluate(chosen)
        hashes.append({r["data_hash"] for r in read_jsonl(out / "results.jsonl")})
        text = table.read_text()
        table.write_text(text.replace('"speaker": "low"', '"speaker": "high"', 1))
    assert hashes[0] != hashes[1]


def test_what_is_missing_is_made_and_the_bytes_are_the_same(home, done, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(done, out)
    for name in ("results.jsonl", "grid.jsonl", "speechft.json"):
        (out / name).unlink()
    removed, *kept = sorted((out / "cells").iterdir())
    times = {cell: (cell / "cell.json").stat().st_mtime_ns for cell in kept}
    shutil.rmtree(removed)
    evaluate(settings(home, out))
    for name in ("results.jsonl", "grid.jsonl"):
        assert (out / name).read_bytes() == (done / name).read_bytes()
    assert times == {cell: (cell / "cell.json").stat().st_mtime_ns for cell in kept}


def test_another_precision_of_the_passes_is_another_result(home, done, tmp_path):
    out = tmp_path / "half"
    shutil.copytree(done, out)
    before = {cell.name for cell in (out / "cells").iterdir()}
    evaluate(settings(home, out, precision="bfloat16"))
    assert len({cell.name for cell in (out / "cells").iterdir()} - before) == 4
    old, new = (read_jsonl(folder / "results.jsonl") for folder in (done, out))
    assert [r["encoder_id"] for r in new] == [r["encoder_id"] for r in old]
    assert {r["cell"] for r in new}.isdisjoint(r["cell"] for r in old)
    assert [{r.get("precision") for r in own} for own in (old, new)] == [{None}, {"bfloat16"}]


def test_more_seeds_keep_the_cells_that_are_there(home, done, tmp_path):
    out = tmp_path / "more"
    shutil.copytree(done, out)
    evaluate(settings(home, out, seeds=(0, 1)))
    records = read_jsonl(out / "results.jsonl")
    assert {r["seed"] for r in records} == {0, 1}
    old = read_jsonl(done / "results.jsonl")
    assert [r for r in records if r["seed"] == 0] == old
    assert len(list((out / "cells").iterdir())) == 2 * len(list((done / "cells").iterdir()))
    first, second = (
        [{**r, "seed": None} for r in read_jsonl(out / "grid.jsonl") if r["seed"] == seed]
        for seed in (0, 1)
    )
    assert first != second


def test_killed_and_started_again_gives_the_same_bytes(home, done, tmp_path, monkeypatch):
    """The process ends itself with two cells whole and the third one's record not moved."""
    out = tmp_path / "killed"
    end, calls = Artifact.end, itertools.count(1)

    def counted(self, products):
        end(self, products)
        if self.stage == "probe" and next(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(Artifact, "end", counted)
        assert is_killed(lambda: evaluate(settings(home, out)))
    assert not (out / "results.jsonl").exists()
    whole = {p: p.stat().st_mtime_ns for p in (out / "cells").glob("[!.]*/cell.json")}
    assert len(whole) == 2
    assert list((out / "cells").glob(".*.tmp/cell.json"))
    evaluate(settings(home, out))
    for name in ("results.jsonl", "grid.jsonl"):
        assert (out / name).read_bytes() == (done / name).read_bytes()
    assert whole == {p: p.stat().st_mtime_ns for p in whole}


def test_interpolations_in_memory(home, tmp_path):
    ends = {"base": str(home / "one"), "tuned": str(home / "two")}
    encoders = [
        ("a", home / "one"),
        ("b", home / "two"),
        *({**ends, "alpha": alpha, "tasks": ("sid",)} for alpha in (0.0, 0.5, 1.0)),
    ]
    out = evaluate(settings(home, tmp_path, encoders=encoders, tasks="er,sid", learning_rates=None))
    hashes = {r["encoder"]: r["encoder_hash"] for r in read_jsonl(out / "results.jsonl")}
    two = home / "two"
    assert hashes[f"{two}@0"] == hashes["a"]
    assert hashes[f"{two}@1"] == hashes["b"]
    assert len(set(hashes.values())) == 3
    tasks = [(r["encoder"], r["task"]) for r in read_jsonl(out / "results.jsonl")]
    assert [t for e, t in tasks if e.endswith("@0.5")] == ["sid"]
    assert len(list((out / "cells").iterdir())) == 5  # a and @0 share cells, b and @1 too
    wrong = {"base": str(home / "one"), "tuned": str(home / "narrow"), "alpha": 0.5}
    with pytest.raises(IncompatibleModelsError, match="mis-shaped"):
        evaluate(settings(home, tmp_path / "x", encoders=(wrong,), tasks="sid"))


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_an_interpolation_in_memory_is_what_merge_writes(home, tmp_path, alpha):
    ends = {"base": str(home / "one"), "tuned": str(home / "two")}
    written = merge(
        MergeSettings(
            base=ends["base"],
            tuned=(ends["tuned"],),
            alpha=alpha,
            dtype="float32",
            out=tmp_path / "merged",
        )
    )
    made = open_encoder(EncoderSpec(**ends, alpha=alpha), "cpu")
    assert made.fingerprint() == load_encoder(written).fingerprint()


def test_a_sweep_stands_for_its_points(home, tmp_path):
    chosen = MergeSettings(
        base=str(home / "one"), tuned=(str(home / "two"),), alpha=("0:1:0.5",), out=tmp_path / "s"
    )
    merge(chosen)
    encoders = (tmp_path / "s", {"path": str(tmp_path / "s"), "alpha": 0.25, "name": "quarter"})
    values = {"tasks": "sid", "learning_rates": None}
    out = evaluate(settings(home, tmp_path / "out", encoders=encoders, **values))
    records = read_jsonl(out / "results.jsonl")
    names = [f"{tmp_path / 's'}@{alpha}" for alpha in ("0", "0.5", "1")]
    assert [r["encoder"] for r in records] == [*names, "quarter"]
    ends = evaluate(settings(home, tmp_path / "ends", **values))
    expected = [r["encoder_hash"] for r in read_jsonl(ends / "results.jsonl")]
    assert [records[0]["encoder_hash"], records[2]["encoder_hash"]] == expected
    merge(chosen.model_copy(update={"alpha": ("0:1:0.25",)}))  # it counted as done, without these
    evaluate(settings(home, tmp_path / "out", encoders=encoders, **values))
    assert len(read_jsonl(out / "results.jsonl")) == 6
    with pytest.raises(SettingsError, match="only a sweep"):
        wrong = {"path": str(home / "one"), "alpha": 0.5}
        evaluate(settings(home, tmp_path / "x", encoders=(wrong,), **values))


def test_disk_store_gives_the_same_results(home, done, tmp_path):
    evaluate(settings(home, tmp_path / "out", store=tmp_path / "store"))
    assert list((tmp_path / "store").iterdir())
    expected = (done / "results.jsonl").read_bytes()
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == expected


def test_data_hash_sees_labels_and_samples_but_not_paths(home, tmp_path):
    def hashes(folder):
        splits, _ = read_splits(str(folder / "table.jsonl"), ["sid"])
        return split_ids(splits)

    original = hashes(home / "data")
    moved = tmp_path / "moved"
    shutil.copytree(home / "data", moved)
    table = moved / "table.jsonl"
    text = table.read_text()
    table.write_text(text.replace('"speaker": "low"', '"speaker": "deep"', 1))
    changed = hashes(moved)
    assert [name for name in original if original[name] != changed[name]] == ["train"]
    table.write_text(text)
    audio = moved / "test-0.wav"
    data = bytearray(audio.read_bytes())
    data[-1] ^= 1
    audio.write_bytes(bytes(data))
    changed = hashes(moved)
    assert [name for name in original if original[name] != changed[name]] == ["test"]


def test_unreachable_targets_are_counted(home, tmp_path):
    table = home / "data" / "table.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    rows[0]["phonemes"] = "g s " * 40
    long = table.with_name("long.jsonl")
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = settings(
        home, tmp_path, encoders=(home / "one",), tasks="pr", data=str(long), learning_rates=None
    )
    (record,) = read_jsonl(evaluate(chosen) / "results.jsonl")
    assert record["unreachable"] == {"train": 1, "dev": 0, "test": 0}


def test_provenance_names_the_encoders(done):
    made = read_json(done / "speechft.json")
    assert made["stage"] == "evaluate"
    assert set(made["parents"]) == {"θ0", "θ'"}
    assert set(made["data"]) == {"train", "dev", "test"}
    assert set(made["depends"]["encoders"][0]) == {"name", "path"}
    assert "out" not in made["settings"]


@pytest.mark.parametrize("keep", ["frames", "none"])
def test_encoder_is_frozen_and_left_alone(home, tmp_path, monkeypatch, keep):
    probed, opened = [], job.open_encoder

    def noted(*args):
        probed.append(opened(*args))
        return probed[-1]

    def files():
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (home / "one").iterdir()}

    monkeypatch.setattr(job, "open_encoder", noted)
    before, fingerprint = files(), load_encoder(home / "one").fingerprint()
    given = {"encoders": (str(home / "one"),), "keep": keep, "store_gb": 1.0}
    if keep == "none":
        given["store_gb"] = 1e-6  # every batch of a probe is read anew
    out = evaluate(settings(home, tmp_path, **given))
    assert {r["encoder_hash"] for r in read_jsonl(out / "results.jsonl")} == {fingerprint}
    (encoder,) = probed
    assert encoder.fingerprint() == fingerprint
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad or p.grad is not None for p in encoder.parameters())
    assert files() == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tasks": "pr,sidd,sid"}, "did you mean 'sid'"),
        ({"tasks": ()}, "tasks"),
        ({"encoders": ()}, "encoders"),
        ({"encoders": (("a", "x"), ("a", "y"))}, "'a' is given twice"),
        ({"encoders": ({"path": "x", "base": "y"},)}, "either path"),
        ({"encoders": ({"base": "x", "alpha": 0.5},)}, "either path"),
        ({"encoders": ({"path": "x", "tasks": ("ic",)},)}, "'ic'"),
        ({"steps": {"ic": 3}}, "not evaluated"),
        ({"steps": 0}, "makes no sense"),
        ({"select": {"sid": "per"}}, "'sid' has no metric 'per'"),
        ({"learning_rates": (0.0,)}, "makes no sense"),
        ({"stepz": 3}, "did you mean 'steps'"),
        ({"data": "nothing.csv"}, "nothing.csv"),
    ],
)
def test_mistakes_are_named(home, tmp_path, values, words):
    with pytest.raises((SettingsError, DataError), match=words):
        evaluate(settings(home, tmp_path, **values))


def test_a_missing_split_names_the_data(home, tmp_path):
    table = home / "data" / "table.jsonl"
    rows = [row for row in read_jsonl(table) if row["split"] != "test"]
    other = home / "data" / "notest.jsonl"
    write_jsonl(other, rows)
    with pytest.raises(DataError, match="lacks the split 'test'") as caught:
        evaluate(settings(home, tmp_path / "out", data=str(other), tasks="sid"))
    assert str(other) in str(caught.value)


def test_every_task_has_a_plan_in_every_size(home, tmp_path):
    for kind in TASKS.values():
        assert set(kind.plans) == {"mini", "superb"}
    own = settings(home, tmp_path, steps={"pr": 7}, learning_rates=0.5, batch_size=None)
    usual = TASKS["sid"].plans["mini"].steps
    assert (plan_for("pr", own).steps, plan_for("sid", own).steps) == (7, usual)
    assert plan_for("pr", own).rates == (0.5,)


def test_command_line(home, tmp_path):
    arguments = [
        "evaluate",
        str(home / "one"),
        "--data",
        str(home / "data" / "table.jsonl"),
        "--tasks",
        "sid",
    ]
    arguments += ["--seed", "1", "--steps", "2", "--workers", "1", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--set", "learning_rates=[0.01]"])
    assert not caught.value.code
    (record,) = read_jsonl(tmp_path / "out" / "results.jsonl")
    assert (record["encoder"], record["seed"], record["learning_rate"]) == (
        str(home / "one"), 1, 0.01
    )  # fmt: skip
