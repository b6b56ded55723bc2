"""Fine-tuning as a stage: artefacts, methods, resuming after SIGKILL, clear refusals."""

import json
import re
import signal

import numpy as np
import pytest
import soundfile
import torch
from evaluate_fixture import relabel, write_tones
from finetune_fixture import kill_at, moved, settings, tensors
from safetensors.torch import load_file

from speechft.core.errors import CheckpointError, DataError, SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.tasks import task_from_dict
from speechft.training.finetune.objective import FineTuning
from speechft.training.finetune.stage import finetune


@pytest.fixture
def encoder_folder(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def test_artefacts(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run"))
    assert moved(out / "encoder", encoder_folder)
    assert not [n for n in moved(out / "encoder", encoder_folder) if "feature_extractor" in n]
    record = json.loads((out / "speechft.json").read_text())
    assert record["stage"] == "finetune"
    assert record["parents"]["encoder"] == load_encoder(encoder_folder).fingerprint()
    assert record["encoder"] == load_encoder(out / "encoder").fingerprint()
    assert list((out / "tensorboard").iterdir())
    task = task_from_dict(json.loads((out / "task.json").read_text()))
    assert task.output_size == 3
    head = load_file(out / "head.safetensors")
    assert any(t.shape[0] == 3 for t in head.values())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [r["update"] for r in lines if "dev_acc" in r] == [5, 10, 15, 20]
    assert [r["lr"] for r in lines if r["update"] == 1 and "lr" in r] == [0.0]


@pytest.mark.parametrize(("task", "figure", "sign"), [("pr", "per", -1), ("sid", "acc", 1)])
def test_the_best_encoder_on_dev_is_kept_beside_the_last(
    encoder_folder, tmp_path, task, figure, sign
):
    shares = {5: "encoder-at-25", 10: "encoder-at-50", 15: "encoder-at-75", 20: "encoder"}
    more = {"task": task, "keep_at": (0.25, 0.5, 0.75), "learning_rate": 3e-3, "head_warmup": 0.05}
    more["seed"] = 4  # one whose few utterances of dev are not scored alike throughout
    out = finetune(settings(encoder_folder, tmp_path / "run", **more))
    scores = dev_figures(out, figure)
    assert list(scores) == list(shares)
    assert len(set(scores.values())) > 1
    best = max(scores, key=lambda update: (sign * scores[update], -update))
    same = {
        update for update, name in shares.items() if not moved(out / "encoder-best", out / name)
    }
    assert same == {best}


def dev_figures(out, name):
    """Update → figure."""
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {r["update"]: r[f"dev_{name}"] for r in records if f"dev_{name}" in r}


@pytest.mark.parametrize(("task", "figure"), [("pr", "per"), ("sid", "acc")])
def test_dev_figures_have_nothing_to_do_with_test(encoder_folder, tmp_path, task, figure):
    table = write_tones(tmp_path / "data")
    found = []
    for split in ("none", "test", "dev"):
        relabel(table, split)
        more = {"task": task, "data": str(table), "steps": 4, "evaluate_every": 2}
        out = finetune(settings(encoder_folder, tmp_path / split, **more))
        found.append(dev_figures(out, figure))
    assert list(found[0]) == [2, 4]
    assert found[0] == found[1] != found[2]


def test_another_seed_draws_another_head_other_batches_and_other_dropout(
    encoder_folder, tmp_path, monkeypatch
):
    """At no rate to speak of the head stays as it was built."""
    batches, seeds, heads = [], [], []
    loss = FineTuning.loss

    def noted(self, indices, items):
        batches[-1].append(list(indices))
        seeds[-1].append(torch.initial_seed())
        return loss(self, indices, items)

    monkeypatch.setattr(FineTuning, "loss", noted)
    for seed in (0, 1):
        batches.append([])
        seeds.append([])
        more = {"seed": seed, "steps": 6, "learning_rate": 1e-30, "evaluate_every": 0}
        out = finetune(settings(encoder_folder, tmp_path / f"{seed}", **more))
        heads.append(load_file(out / "head.safetensors"))
    assert len(batches[0]) == len(set(seeds[0])) == 6
    assert batches[0] != batches[1]
    assert not set(seeds[0]) & set(seeds[1])
    for name in (n for n in heads[0] if n.endswith("weight")):
        assert not torch.equal(heads[0][name], heads[1][name])


@pytest.mark.parametrize(
    ("method", "front_end"),
    [("regular", True), ("l2sp", False), ("lora", False), ("dora", False)],
)
def test_methods(encoder_folder, tmp_path, method, front_end):
    out = finetune(settings(encoder_folder, tmp_path / "run", method=method, steps=6))
    names = moved(out / "encoder", encoder_folder)
    assert any("encoder.layers" in n for n in names)
    assert any("feature_extractor" in n for n in names) == front_end
    if method in ("lora", "dora"):
        assert all("encoder.layers" in n and n.endswith(".weight") for n in names)


@pytest.mark.parametrize("task", ["asr", "pr", "pc", "er", "ic", "ks", "sf"])
def test_tasks(encoder_folder, tmp_path, task):
    out = finetune(settings(encoder_folder, tmp_path / "run", task=task, steps=4))
    assert moved(out / "encoder", encoder_folder)


def test_a_stronger_pull_stays_nearer(encoder_folder, tmp_path):
    base = tensors(encoder_folder)
    distances = []
    for strength in (0.0, 100.0):
        out = finetune(
            settings(
                encoder_folder, tmp_path / f"{strength}", method="l2sp", l2sp_strength=strength
            )
        )
        after = tensors(out / "encoder")
        distances.append(sum(float((after[n] - base[n]).square().sum()) for n in base))
    assert distances[1] < 0.5 * distances[0]


def test_done_is_not_done_again(encoder_folder, tmp_path):
    chosen = settings(encoder_folder, tmp_path / "run", steps=4)
    out = finetune(chosen)
    stamp = (out / "encoder" / "model.safetensors").stat().st_mtime_ns
    finetune(chosen)
    assert (out / "encoder" / "model.safetensors").stat().st_mtime_ns == stamp


def test_other_settings_do_not_go_on_with_what_is_there(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=4))
    before = (out / "encoder" / "model.safetensors").read_bytes()
    with pytest.raises(SettingsError, match="another length") as caught:
        finetune(settings(encoder_folder, tmp_path / "run", steps=8))
    assert "steps 4" in str(caught.value)
    assert "steps 8" in str(caught.value)
    assert (out / "encoder" / "model.safetensors").read_bytes() == before


def test_other_data_under_the_same_name_is_noticed(encoder_folder, tmp_path):
    table = tmp_path / "table.csv"
    rows = ["audio,speaker,split"]
    for i, name in enumerate(["anna", "ben"] * 3):
        wave = np.random.default_rng(i).normal(size=8000) / 10
        soundfile.write(tmp_path / f"{i}.wav", wave, 16000)
        rows.append(f"{i}.wav,{name},train")
    table.write_text("\n".join(rows))
    chosen = settings(encoder_folder, tmp_path / "run", data=str(table), steps=2)
    finetune(chosen)
    finetune(chosen)
    table.write_text("\n".join([*rows[:-1], rows[-1].replace("ben", "anna")]))
    with pytest.raises(SettingsError, match="other settings") as caught:
        finetune(chosen)
    said = str(caught.value)
    assert f"data {table} as it was" in said
    assert f"data {table} with other content" in said
    assert not re.search("[0-9a-f]{8}", said.replace(str(tmp_path), ""))


def test_after_a_mistake_the_same_folder_can_be_used(encoder_folder, tmp_path):
    with pytest.raises(DataError):
        finetune(settings(encoder_folder, tmp_path / "run", data=str(tmp_path / "no.csv")))
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=4))
    assert (out / "encoder").is_dir()


@pytest.mark.slow
def test_killed_and_run_again_is_the_same_bit_for_bit(encoder_folder, tmp_path):
    whole = finetune(settings(encoder_folder, tmp_path / "whole", steps=40, keep_at=(0.2, 0.9)))
    killed = settings(encoder_folder, tmp_path / "killed", steps=40, keep_at=(0.2, 0.9))
    for update, moment in ((8, "_update"), (25, "_evaluate")):
        assert kill_at(killed, update, moment) == -signal.SIGKILL
    assert not (killed.out / "speechft.json").exists()
    finetune(killed)
    encoders = ("encoder", "encoder-best", "encoder-at-20", "encoder-at-90")
    for name in (*(f"{e}/model.safetensors" for e in encoders), "head.safetensors"):
        assert (whole / name).read_bytes() == (killed.out / name).read_bytes()


def test_an_early_encoder_is_that_of_a_shorter_run(encoder_folder, tmp_path):
    """Under a constant rate nothing tells a run how long it will be."""
    same = {"schedule": "constant", "head_warmup": 0.0}
    out = finetune(
        settings(encoder_folder, tmp_path / "long", steps=10, keep_at=(0.2, 0.5), **same)
    )
    for steps, name in ((2, "encoder-at-20"), (5, "encoder-at-50")):
        short = finetune(settings(encoder_folder, tmp_path / f"{steps}", steps=steps, **same))
        assert not moved(short / "encoder", out / name)
        assert moved(short / "encoder", out / "encoder")
    early = json.loads((out / "speechft.json").read_text())["settings"]["keep_at"]
    assert early == [0.2, 0.5]


@pytest.mark.parametrize("shares", [(0.0,), (1.0,), (0.2, 0.2)])
def test_shares_that_make_no_sense(encoder_folder, tmp_path, shares):
    with pytest.raises(ValueError, match="keep_at"):
        settings(encoder_folder, tmp_path, keep_at=shares)


def test_an_unknown_task_names_the_nearest(encoder_folder, tmp_path):
    with pytest.raises(SettingsError, match="unknown task 'sdi'") as caught:
        finetune(settings(encoder_folder, tmp_path / "run", task="sdi"))
    assert "sid" in str(caught.value)


def test_labels_that_are_not_there(encoder_folder, tmp_path):
    soundfile.write(tmp_path / "a.wav", torch.randn(16000).numpy() / 10, 16000)
    (tmp_path / "table.csv").write_text("audio,text\na.wav,hello\n")
    with pytest.raises(DataError) as caught:
        finetune(
            settings(encoder_folder, tmp_path / "run", task="er", data=str(tmp_path / "table.csv"))
        )
    assert "emotion" in str(caught.value)


def test_an_encoder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError):
        finetune(settings(tmp_path / "nowhere", tmp_path / "run"))


@pytest.mark.parametrize("task", ["ks", "sd", "asv"])
def test_tasks_that_change_their_audio_are_finetuned_on_what_they_hear(
    encoder_folder, tmp_path, corpus_tree, task
):
    name = {"ks": "speech_commands", "sd": "libri2mix", "asv": "voxceleb1"}[task]
    more = {"speakers": 6} if task == "asv" else {}
    data = f"{name}:{corpus_tree(name, **more)}"
    out = finetune(settings(encoder_folder, tmp_path / "run", task=task, data=data, steps=3))
    assert moved(out / "encoder", encoder_folder)
    saved = task_from_dict(json.loads((out / "task.json").read_text()))
    if task == "ks":
        assert len(saved.groups["keyword"]) == 12
    hours = json.loads((out / "speechft.json").read_text())["hours"]
    # 24 words and 200 pieces of noise of a second each, not two recordings of 4.5 s
    assert task != "ks" or hours == pytest.approx(224 / 3600, abs=1e-3)


def test_a_task_without_a_head_is_refused(encoder_folder, tmp_path, corpus_tree):
    data = f"quesst2014:{corpus_tree('quesst2014')}"
    with pytest.raises(SettingsError, match="trains no head"):
        finetune(settings(encoder_folder, tmp_path / "run", task="qbe", data=data))
