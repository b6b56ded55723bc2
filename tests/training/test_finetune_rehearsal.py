"""Rehearsal: units of θ0, the predictor's warm-up, shares, kill and resume, refusals."""

import json
import signal

import numpy as np
import pytest
import torch
from finetune_fixture import kill_at, moved, settings

from speechft.core.errors import DataError, SettingsError
from speechft.core.settings import parse_settings
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.units import load_units

REHEARSED = {
    "rehearsal_share": 0.25,
    "rehearsal_data": "synthetic:tiny",
    "rehearsal_clusters": 8,
    "rehearsal_seconds": 20.0,
    "rehearsal_warmup": 2,
}
MASK = "masked_spec_embed"


@pytest.fixture
def encoder_folder(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out):
    return [r for r in records(out) if "loss" in r]


def state(out):
    (last,) = (out / "checkpoints").glob("update-*.pt")
    return torch.load(last, weights_only=True)["module"]


def test_a_share_of_the_batches_predicts_units(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=16, **REHEARSED))
    found = ["rehearsal_masked_loss" in r for r in losses(out)]
    assert found == [False, False, False, True] * 4
    units = load_units(out / "rehearsal-units.npz")
    spoken = {c.id: c.duration for c in load_data("synthetic:tiny")["pretrain"]}
    assert 1 < len(units) < len(spoken)
    assert max(map(int, np.concatenate(units))) < 8
    assert MASK in moved(out / "encoder", encoder_folder)
    assert not [n for n in moved(out / "encoder", encoder_folder) if "feature_extractor" in n]


def test_without_it_the_mask_embedding_stays(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=16))
    assert MASK not in moved(out / "encoder", encoder_folder)
    assert not (out / "rehearsal-units.npz").exists()


def test_units_are_those_of_the_untouched_encoder(encoder_folder, tmp_path):
    """By default of its middle layer, however long the run."""
    out = finetune(settings(encoder_folder, tmp_path / "a", steps=2, **REHEARSED))
    other = finetune(
        settings(encoder_folder, tmp_path / "b", steps=2, rehearsal_layer=2, **REHEARSED)
    )
    same = finetune(
        settings(encoder_folder, tmp_path / "c", steps=6, rehearsal_layer=1, **REHEARSED)
    )
    mine, layer_two, layer_one = (
        load_units(run / "rehearsal-units.npz") for run in (out, other, same)
    )
    assert all(np.array_equal(a, b) for a, b in zip(mine, layer_one, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(mine, layer_two, strict=True))
    encoder = load_encoder(encoder_folder)
    frames = [int(encoder.frame_lengths(torch.tensor(round(16000 * c.duration))))
              for c in load_data("synthetic:tiny")["pretrain"]]  # fmt: skip
    assert {len(u) for u in mine} <= set(frames)


def test_the_predictor_warms_up_while_the_encoder_stands_still(encoder_folder, tmp_path):
    same = {**REHEARSED, "rehearsal_share": 0.5, "steps": 10, "head_warmup": 0.9}
    out = finetune(settings(encoder_folder, tmp_path / "a", keep_at=(0.8,), save_every=8, **same))
    start = finetune(settings(encoder_folder, tmp_path / "b", learning_rate=1e-30, **same))
    before, after = state(start), state(out)
    predictor = [n for n in before if n.startswith("predictor.")]
    assert len(predictor) == 3
    assert all(not torch.equal(before[n], after[n]) for n in predictor)
    assert not moved(out / "encoder-at-80", encoder_folder)  # updates 2, 4, 6, 8 have rehearsed
    assert MASK in moved(out / "encoder", encoder_folder)  # update 10 moves it


def test_before_the_first_update_the_predictor_learns_behind_theta0(encoder_folder, tmp_path):
    def first_loss(name, **values):
        same = {**REHEARSED, "rehearsal_share": 0.5, "steps": 4, "learning_rate": 1e-30}
        out = finetune(settings(encoder_folder, tmp_path / name, **{**same, **values}))
        assert not [n for n in moved(out / "encoder", encoder_folder) if n.endswith("weight")]
        return next(r["rehearsal_masked_loss"] for r in losses(out) if "rehearsal_masked_loss" in r)

    without, warm = first_loss("a", rehearsal_warmup=0), first_loss("b", rehearsal_warmup=80)
    assert warm < 0.98 * without
    assert first_loss("c", rehearsal_warmup=80) == warm
    assert first_loss("d", rehearsal_warmup=80, rehearsal_unmasked_weight=1.0) != warm
    assert not (tmp_path / "a" / "rehearsal-predictor.safetensors").exists()


@pytest.mark.parametrize("method", ["stable", "regular", "l2sp", "lora"])
def test_with_every_method(encoder_folder, tmp_path, method):
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=8, method=method, **REHEARSED))
    names = moved(out / "encoder", encoder_folder)
    assert (MASK in names) == (method != "lora")
    assert any("feature_extractor" in n for n in names) == (method == "regular")
    assert any("rehearsal_masked_loss" in r for r in losses(out))


def test_with_several_tasks(encoder_folder, tmp_path):
    out = finetune(settings(encoder_folder, tmp_path / "run", steps=16, task="pr,sid", **REHEARSED))
    names = ("pr_loss", "sid_loss", "rehearsal_masked_loss")
    kinds = [next(i for i, name in enumerate(names) if name in r) for r in losses(out)]
    assert kinds[:8] == [0, 1, 0, 2, 1, 0, 1, 2]


@pytest.mark.slow
def test_killed_and_run_again_is_the_same_bit_for_bit(encoder_folder, tmp_path):
    more = {**REHEARSED, "task": "pr,sid", "steps": 30}
    whole = finetune(settings(encoder_folder, tmp_path / "whole", **more))
    killed = settings(encoder_folder, tmp_path / "killed", **more)
    for update, moment in ((8, "_update"), (20, "_save")):
        assert kill_at(killed, update, moment) == -signal.SIGKILL
    finetune(killed)
    heads = ("head-pr.safetensors", "head-sid.safetensors", "rehearsal-units.npz")
    for name in ("encoder/model.safetensors", "encoder-best/model.safetensors", *heads[:2]):
        assert (whole / name).read_bytes() == (killed.out / name).read_bytes()
    mine, other = load_units(whole / heads[2]), load_units(killed.out / heads[2])
    assert all(np.array_equal(a, b) for a, b in zip(mine, other, strict=True))


def test_an_encoder_without_a_mask_embedding_is_refused(tmp_path, tiny_config):
    base = build_encoder({**tiny_config, "mask_time_prob": 0.0}, seed=0).save(tmp_path / "base")
    with pytest.raises(SettingsError, match="no mask embedding"):
        finetune(settings(base, tmp_path / "run", **REHEARSED))
    assert not (tmp_path / "run").exists()


def test_refusals(encoder_folder, tmp_path):
    with pytest.raises(ValueError, match="go together"):
        settings(encoder_folder, tmp_path, rehearsal_share=0.2)
    with pytest.raises(ValueError, match="go together"):
        settings(encoder_folder, tmp_path, rehearsal_data="synthetic:tiny")
    with pytest.raises(SettingsError, match="no layer 7"):
        finetune(settings(encoder_folder, tmp_path / "a", rehearsal_layer=7, **REHEARSED))
    nowhere = {**REHEARSED, "rehearsal_data": str(tmp_path / "no.csv")}
    with pytest.raises(DataError):
        finetune(settings(encoder_folder, tmp_path / "b", **nowhere))


def test_other_speech_to_rehearse_is_another_run(encoder_folder, tmp_path):
    finetune(settings(encoder_folder, tmp_path / "run", steps=2, **REHEARSED))
    with pytest.raises(SettingsError, match="other settings") as caught:
        finetune(settings(encoder_folder, tmp_path / "run", steps=2))
    assert "rehearsal_share" in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adapter_rank": 4}, "adapter_rank is read only with method lora or dora"),
        ({"l2sp_strength": 0.5, "method": "lora"}, "l2sp_strength is read only with method l2sp"),
        ({"rehearsal_layer": 2}, "rehearsal_layer is read only with rehearsal_share"),
    ],
)
def test_a_setting_that_the_run_would_not_read_is_refused(given, message, tmp_path):
    values = {"encoder": "tiny-hubert", "task": "sid", "data": "synthetic:tiny", "out": "x"}
    with pytest.raises(SettingsError, match=message):
        parse_settings(FinetuneSettings, {**values, **given}, "here")
    parse_settings(FinetuneSettings, values, "here")
