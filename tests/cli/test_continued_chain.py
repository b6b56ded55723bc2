"""Continued pre-training on a second language, merged and evaluated on both, by commands alone."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from speechft.cli.app import main
from speechft.encoders import load_encoder
from speechft.encoders.identity import locate
from speechft.training.pretrain import stage as pretraining


@pytest.fixture(autouse=True)
def _own_units(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("speechft.training.pretrain.unit_cache.cache_folder", lambda: folder)


def call(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert not caught.value.code


def test_spanish_then_merge_then_english_and_spanish(tmp_path):
    spanish, merged, scores = tmp_path / "spanish", tmp_path / "merged", tmp_path / "scores"
    steps = ("--steps", "4", "--learning-rate", "1e-3", "--clusters", "20")
    few = ("--set", "seconds=8", "--set", "evaluate_every=0", "--data", "synthetic:tiny@es")
    call("pretrain", "--init", "tiny-hubert", *steps, *few, "--out", spanish)
    tuned = spanish / "encoder"
    quarter = ("--alpha", "0.25", "--dtype", "float32")
    call("merge", "tiny-hubert", tuned, *quarter, "--out", merged)
    both = ("--data", "synthetic:tiny", "--data", "asr=synthetic:tiny@es")
    small = ("--tasks", "pr,asr", "--steps", "4", "--workers", "1", "--set", "checks=2")
    call("evaluate", "tiny-hubert", merged, *both, *small, "--device", "cpu", "--out", scores)
    records = [json.loads(line) for line in (scores / "results.jsonl").read_text().splitlines()]
    found = {(Path(r["encoder"]).name, r["task"], r["data"]) for r in records}
    assert found == {
        (name, task, data)
        for name in ("tiny-hubert", "merged")
        for task, data in (("pr", "synthetic:tiny"), ("asr", "synthetic:tiny@es"))
    }
    assert len({load_encoder(e).fingerprint() for e in ("tiny-hubert", tuned, merged)}) == 3


def test_alpha_zero_keeps_the_bytes_of_a_stored_half_precision_encoder(tmp_path):
    out = tmp_path / "run"
    few = ("--steps", "1", "--clusters", "8", "--head-warmup", "0", "--set", "seconds=8")
    call("pretrain", "--init", "tiny-hubert", "--data", "synthetic:tiny@es", *few, "--out", out)
    call("merge", "tiny-hubert", out / "encoder", "--alpha", "0", "--out", tmp_path / "zero")
    before = load_file(locate("tiny-hubert") / "model.safetensors")
    after = load_file(tmp_path / "zero" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(before[n].dtype == t.dtype and before[n].equal(t) for n, t in after.items())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--data", "synthetic:tiny@es", "--layer", "9"), 2, "no layer 9"),
        (("--data", "synthetic:tiny@es", "--layer", "top"), 2, "layer"),
        (("--data", "synthetic:tiny@it"), 2, "en, es, de"),
        (("--data", "synthetic:tiny@es", "--set", "split=pretrian"), 3, "no split 'pretrian'"),
        (("--data", "synthetic:tiny@es", "--objective", "reconstruction"), 2, "cannot train"),
    ],
)
def test_mistakes_are_one_message(tmp_path, capsys, arguments, code, said):
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", "--init", "tiny-hubert", "--steps", "2", *arguments, "--out", str(tmp_path / "o")])  # fmt: skip # noqa: E501
    text = capsys.readouterr().err
    assert caught.value.code == code
    assert said in text
    assert "Traceback" not in text


def test_options_change_the_one_iteration_of_a_configuration(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(pretraining, "pretrain", lambda s: seen.append(s) or tmp_path)
    one = tmp_path / "one.yaml"
    rounds = [{"steps": 9, "layer": 4, "clusters": 200, "teacher": "tiny-hubert"}]
    one.write_text(json.dumps({"init": "a.yaml", "data": "synthetic", "iterations": rounds}))
    call("pretrain", "--config", one, "--steps", "3", "--out", tmp_path / "o")
    (found,) = seen[0].iterations
    assert (found.steps, found.layer, found.clusters, found.teacher) == (3, 4, 200, "tiny-hubert")


def test_options_of_one_iteration_do_not_replace_several(tmp_path, capsys):
    several = tmp_path / "several.yaml"
    rounds = [{"steps": 9}, {"steps": 9, "layer": 4}]
    several.write_text(json.dumps({"init": "a.yaml", "data": "synthetic", "iterations": rounds}))
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", "--config", str(several), "--steps", "3", "--out", str(tmp_path / "o")])
    assert caught.value.code == 2
    assert "--set iterations.1.steps=1000" in capsys.readouterr().err
