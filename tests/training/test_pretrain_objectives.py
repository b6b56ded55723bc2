"""Pre-training by the objectives of wav2vec 2.0 and DeCoAR 2.0, and units of another encoder."""

import json

import numpy as np
import pytest
import torch
from pretrain_fixture import DECOAR, stopped_at
from safetensors.torch import load_file

from speechft.core.errors import SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import load_encoder
from speechft.encoders.identity import encoder_id
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain
from speechft.training.pretrain.units import load_units

BOOKS = {"groups": 2, "entries": 8, "width": 16}
OBJECTIVES = pytest.mark.parametrize("objective", ["contrastive", "reconstruction"])


@pytest.fixture
def settings(tiny_config, tmp_path):
    def make(objective, name="run", **more):
        wav2vec2 = {**tiny_config, "model_type": "wav2vec2"}
        values = {
            "init": wav2vec2 if objective == "contrastive" else DECOAR,
            "out": tmp_path / name,
            "data": "synthetic:tiny",
            "objective": objective,
            "steps": 6,
            "quantiser": BOOKS,
            "seconds": 10,
            "evaluate_every": 3,
            "save_every": 2,
            **more,
        }
        return parse_settings(PretrainSettings, values, "test")

    return make


def weights(folder):
    return load_file(folder / "encoder" / "model.safetensors")


@OBJECTIVES
def test_an_encoder_and_figures_on_dev(settings, objective):
    out = pretrain(settings(objective))
    encoder = load_encoder(out)
    assert encoder.family == {"contrastive": "wav2vec2", "reconstruction": "decoar2"}[objective]
    record = json.loads((out / "speechft.json").read_text())
    assert record["encoder"] == encoder.fingerprint()
    assert record["settings"]["objective"] == objective
    lines = [json.loads(x) for x in (out / "metrics.jsonl").read_text().splitlines()]
    dev = [line for line in lines if "dev_codes" in line]
    assert [line["update"] for line in dev] == [3, 6]
    assert {"dev_code_perplexity", "dev_codes"} < set(dev[0])
    assert not (out / "iteration-1").exists()
    before = (out / "encoder" / "model.safetensors").stat().st_mtime_ns
    assert pretrain(settings(objective)) == out
    assert (out / "encoder" / "model.safetensors").stat().st_mtime_ns == before


@OBJECTIVES
def test_stopped_and_run_again(settings, objective):
    whole = pretrain(settings(objective, "whole"))
    with stopped_at(4):
        pretrain(settings(objective, "stopped"))
    stopped = pretrain(settings(objective, "stopped"))
    again, expected = weights(stopped), weights(whole)
    assert all(torch.equal(again[n], expected[n]) for n in expected)
    other = weights(pretrain(settings(objective, "other", seed=1)))
    assert any(not torch.equal(other[n], expected[n]) for n in expected)

    def figures(folder):
        lines = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]

    assert figures(stopped)[-2:] == figures(whole)[-2:]


@OBJECTIVES
def test_continued_from_an_encoder(settings, objective, tmp_path):
    """The encoder changes, and its quantiser goes on from where it was, in its own sizes."""
    base = pretrain(settings(objective, "base"))
    plain = {"init": str(base), "data": "synthetic:tiny", "steps": 2, "seconds": 10}
    alone = pretrain(PretrainSettings(**plain, out=tmp_path / "alone"))
    book = load_file(alone / "encoder" / "extras.safetensors")["quantizer.vars"]
    assert book.shape == (1, 16, 8)
    more = {"init": str(base / "encoder"), "split": "es_train", "steps": 2, "learning_rate": 1e-6}
    out = pretrain(settings(objective, **more))
    before, after = weights(base), weights(out)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[n], after[n]) for n in before)
    old, new = (load_file(p / "encoder" / "extras.safetensors") for p in (base, out))
    assert any(not torch.equal(old[n], new[n]) for n in old)
    assert max(float((old[n] - new[n]).abs().max()) for n in old) < 1e-4
    books = {**BOOKS, "entries": 9}
    other = pretrain(settings(objective, "other", **more, quantiser=books))
    assert load_file(other / "encoder" / "extras.safetensors")["quantizer.vars"].shape[1] == 18


def test_the_carried_head_has_its_place_in_other_formats(settings, tmp_path):
    from speechft.encoders.convert import convert
    from speechft.encoders.load import read_checkpoint
    from speechft.encoders.settings import ConvertSettings

    base = pretrain(settings("contrastive"))
    convert(ConvertSettings(source=str(base), target=tmp_path / "w.pt", to="fairseq"))
    found = read_checkpoint(tmp_path / "w.pt").side.tensors
    old = load_file(base / "encoder" / "extras.safetensors")
    assert {"quantizer.vars", "project_q.weight", "final_proj.bias"} < old.keys()
    assert all(torch.equal(found[name], old[name]) for name in old)


def test_defaults_depend_on_the_objective(settings):
    assert settings("contrastive").mask_share == 0.65
    assert settings("contrastive", mask_share=0.5).mask_share == 0.5
    assert settings("reconstruction").unmasked_weight == 0
    assert settings("contrastive").unmasked_weight == 0
    assert settings("contrastive", unmasked_weight=0.2).unmasked_weight == 0.2
    again = PretrainSettings(**settings("reconstruction").model_dump())
    assert again == settings("reconstruction")


ROUND = {"steps": 2, "clusters": 6}


@pytest.mark.parametrize(
    ("objective", "change", "said"),
    [
        ("contrastive", {"steps": None}, "the objective contrastive needs steps"),
        ("masked-prediction", {}, "quantiser is of no use to the objective masked-prediction"),
        ("contrastive", {"iterations": [ROUND]}, "iterations is of no use"),
        ("reconstruction", {"contrastive": {"negatives": 5}}, "contrastive is of no use"),
        ("reconstruction", {"mixing": 0.2}, "mixing is of no use"),
        ("contrastiv", {}, "contrastive"),
        ("contrastive", {"quantiser": {"groups": 3, "width": 16}}, "multiple of groups"),
        ("contrastive", {"quantiser": {"temperatures": [0.5, 2.0]}}, "must not rise"),
        ("contrastive", {"quantiser": {"entires": 3}}, "entries"),
        ("contrastive", {"contrastive": {"negatives": 0}}, "contrastive.negatives"),
    ],
)
def test_settings_that_make_no_sense(settings, objective, change, said):
    with pytest.raises(SettingsError, match=said) as caught:
        settings(objective, **change)
    assert "1 setting is wrong" in str(caught.value)


def test_masked_prediction_needs_rounds(tiny_config, tmp_path):
    values = {"init": tiny_config, "data": "synthetic:tiny", "out": tmp_path}
    with pytest.raises(SettingsError, match="needs steps, or iterations"):
        parse_settings(PretrainSettings, values, "test")
    with pytest.raises(SettingsError, match="masked-prediction needs iterations"):
        parse_settings(PretrainSettings, {**values, "objective": "masked-prediction"}, "test")


@pytest.mark.parametrize("objective", ["contrastive", "reconstruction"])
def test_a_family_that_the_objective_cannot_train(settings, tiny_config, objective):
    wrong = DECOAR if objective == "contrastive" else tiny_config
    with pytest.raises(SettingsError, match="cannot train this encoder"):
        pretrain(settings(objective, init=wrong))


def masked(tiny_config, out, teacher=None, **more):
    round_ = {**ROUND, "layer": 1, **({"teacher": str(teacher)} if teacher else {}), **more}
    values = {"init": tiny_config, "data": "synthetic:tiny", "out": out, "iterations": [round_]}
    return PretrainSettings(**values, seconds=10, fit_seconds=20)


def test_units_of_another_encoder(tiny_config, tmp_path):
    from speechft.encoders import build_encoder

    teacher = build_encoder({**tiny_config, "hidden_size": 48}, seed=5).save(tmp_path / "teacher")
    out = pretrain(masked(tiny_config, tmp_path / "taught", teacher))
    own = pretrain(masked(tiny_config, tmp_path / "own"))
    taught, alone = (load_units(p / "iteration-1" / "units.npz") for p in (out, own))
    assert any(not np.array_equal(a, b) for a, b in zip(taught, alone, strict=True))
    assert load_encoder(out).hidden_size == 32
    record = json.loads((out / "iteration-1" / "speechft.json").read_text())
    assert record["depends"]["iterations"][0]["teacher"] == encoder_id(str(teacher))


def test_another_teacher_of_the_same_name_is_noticed(tiny_config, tmp_path):
    from speechft.encoders import build_encoder

    build_encoder(tiny_config, seed=5).save(tmp_path / "teacher")
    pretrain(masked(tiny_config, tmp_path / "run", tmp_path / "teacher"))
    build_encoder(tiny_config, seed=6).save(tmp_path / "teacher")
    with pytest.raises(SettingsError, match="teacher"):
        pretrain(masked(tiny_config, tmp_path / "run", tmp_path / "teacher"))


@pytest.mark.parametrize(
    ("change", "said"), [({"layer": None}, "teacher needs"), ({"guide": ROUND}, "not from both")]
)
def test_teachers_that_make_no_sense(tiny_config, tmp_path, change, said):
    guide = {"guide": {"steps": 2, "seconds": 10}} if "guide" in change else change
    with pytest.raises(ValueError, match=said):
        masked(tiny_config, tmp_path, "somewhere", **guide)


def test_a_new_encoder_begins_with_the_front_end_of_another(settings, tiny_config, tmp_path):
    from speechft.encoders import build_encoder

    hubert = build_encoder(tiny_config, seed=3).save(tmp_path / "hubert")
    still = {"freeze_front_end": True, "steps": 2}
    out = pretrain(settings("contrastive", front_end=str(hubert), **still))
    other = pretrain(settings("contrastive", "other", **still))
    given = load_file(hubert / "model.safetensors")
    front = [name for name in given if name.startswith("feature_extractor.")]
    assert all(torch.equal(weights(out)[name], given[name]) for name in front)
    assert any(not torch.equal(weights(other)[name], given[name]) for name in front)
    behind = "encoder.layers.0.attention.k_proj.weight"
    assert not torch.allclose(weights(out)[behind], given[behind], atol=1e-2)


def test_a_front_end_of_other_sizes_is_refused(settings, tiny_config, tmp_path):
    from speechft.encoders import build_encoder

    wide = build_encoder({**tiny_config, "conv_dim": [24] * 7}, seed=3).save(tmp_path / "wide")
    with pytest.raises(SettingsError, match="does not fit") as caught:
        pretrain(settings("contrastive", front_end=str(wide)))
    assert "conv_layers.0.conv.weight (16, 1, 10)" in str(caught.value)
    with pytest.raises(SettingsError, match="front_end is of no use"):
        settings("contrastive", init=str(wide), front_end=str(wide))
