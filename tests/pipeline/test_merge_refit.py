"""The head of a fine-tuning on the merged encoder: kept, or trained again while that stays."""

from __future__ import annotations

import json

import pytest
import torch
from evaluate_fixture import CONFIG, write_tones
from finetune_fixture import settings as tuning
from finetune_fixture import tensors
from safetensors.torch import load_file

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder
from speechft.merging.settings import MergeSettings
from speechft.pipeline.merge import merge
from speechft.pipeline.recipe.recipe_jobs import make_plan
from speechft.pipeline.recipe.settings import RunSettings
from speechft.prediction.predict import predict
from speechft.prediction.settings import PredictSettings
from speechft.tasks.kept_head import read_record
from speechft.training.finetune.stage import finetune

QUICK = {"steps": 40, "seconds": 8.0, "threads": 1, "evaluate_every": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refit")
    build_encoder(dict(CONFIG), seed=0).save(folder / "base")
    table = write_tones(folder / "data")
    more = {"data": str(table), "steps": 20, "evaluate_every": 0}
    finetune(tuning(folder / "base", folder / "run", **more))
    return folder


def merged(home, out, **more):
    values = {"base": home / "base", "tuned": home / "run", "alpha": 0.5, "out": out, **more}
    return merge(parse_settings(MergeSettings, values, where="test"))


def said(folder, home):
    values = {"encoder": folder, "audio": home / "data" / "table.jsonl", "split": "test"}
    return predict(parse_settings(PredictSettings, {**values, "device": "cpu"}, where="test"))


def test_the_head_of_a_run_goes_along_or_stays_behind(home, tmp_path):
    kept = merged(home, tmp_path / "kept", heads="tuned")
    head = "head.safetensors"
    assert (kept / head).read_bytes() == (home / "run" / "encoder" / head).read_bytes()
    assert json.loads((kept / "speechft.json").read_text())["heads"] == [head]
    assert {record["label"] for record in said(kept, home)} <= {"low", "high"}
    assert "speechft predict PATH" in (kept / "README.md").read_text()
    dropped = merged(home, tmp_path / "dropped")
    assert "speechft predict PATH" not in (dropped / "README.md").read_text()
    assert not (dropped / head).exists()
    for name, tensor in tensors(dropped).items():
        assert torch.equal(tensor, tensors(kept)[name])


def test_a_head_is_refitted_while_the_encoder_stays(home, tmp_path):
    table = str(home / "data" / "table.jsonl")
    out = merged(home, tmp_path / "out", heads="refit", data=table, refit=QUICK)
    plain = merged(home, tmp_path / "plain")
    assert (out / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()
    head = out / "head.safetensors"
    old = load_file(home / "run" / "encoder" / "head.safetensors")
    assert any(not torch.equal(t, old[n]) for n, t in load_file(head).items())
    record = json.loads((out / "speechft.json").read_text())
    assert (record["alpha"], record["heads"]) == ("0.5", ["head.safetensors"])
    assert read_record(head).size == "mini"
    assert "`head.safetensors`" in (out / "README.md").read_text()
    assert not (tmp_path / "out.refit").exists()
    right = [r["label"] == ("low", "high")[i % 2] for i, r in enumerate(said(out, home))]
    assert sum(right) >= 5, right
    before = head.stat().st_mtime_ns
    assert merged(home, tmp_path / "out", heads="refit", data=table, refit=QUICK) == out
    assert head.stat().st_mtime_ns == before


def test_mistakes_at_refitting(home, tmp_path):
    table = str(home / "data" / "table.jsonl")
    same = {"heads": "refit", "data": table}
    with pytest.raises(SettingsError, match="which task"):
        merged(home, tmp_path / "out", tuned=home / "base", **same)
    with pytest.raises(SettingsError, match="does not say encoder"):
        merged(home, tmp_path / "out", refit={"encoder": "x"}, **same)
    with pytest.raises(SettingsError, match="stpes"):
        merged(home, tmp_path / "out", refit={"stpes": 1}, **same)
    assert not (tmp_path / "out").exists()


def test_a_recipe_says_data_and_task_of_its_fine_tuning(tmp_path):
    recipe = {
        "name": "r", "encoder": "tiny-hubert", "data": "synthetic:tiny",
        "finetune": {"task": "sid", "steps": 2}, "merge": {"heads": "refit"},
    }  # fmt: skip
    plan = make_plan(parse_settings(RunSettings, recipe, where="test"), tmp_path)
    (job,) = (step for step in plan.steps if step.verb == "merge")
    assert (job.settings.data, job.settings.task) == ("synthetic:tiny", "sid")
