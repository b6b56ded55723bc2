"""Head warm-up off, CNN trained: with every method, every task, every family."""

import pytest
from family_configs import FAMILIES, config_of
from finetune_fixture import moved, settings, tensors

from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune

BARE = {"head_warmup": 0.0, "freeze_front_end": False, "steps": 3, "evaluate_every": 0}
FRONT = "feature_extractor"


@pytest.fixture
def encoder_folder(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def front_end(names):
    return {name for name in names if FRONT in name}


@pytest.mark.parametrize("method", ["stable", "regular", "l2sp", "lora", "dora"])
def test_with_every_method(encoder_folder, tmp_path, method):
    out = finetune(settings(encoder_folder, tmp_path / "run", method=method, task="pr", **BARE))
    names = moved(out / "encoder", encoder_folder)
    assert front_end(names) == front_end(tensors(encoder_folder))
    rest = names - front_end(names)
    assert any("encoder.layers" in n for n in rest)
    if method in ("lora", "dora"):
        assert all("encoder.layers" in n and n.endswith(".weight") for n in rest)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["asr", "pc", "sid", "er", "ic", "ks", "sf", "pr,sid"])
def test_with_every_task(encoder_folder, tmp_path, task):
    out = finetune(settings(encoder_folder, tmp_path / "run", task=task, **BARE))
    assert front_end(moved(out / "encoder", encoder_folder))


def test_the_encoder_moves_at_once_or_after_the_warm_up(encoder_folder, tmp_path):
    same = {"steps": 10, "schedule": "constant", "keep_at": (0.1,), "evaluate_every": 0}
    for warmup in (0.0, 0.5):
        chosen = settings(encoder_folder, tmp_path / f"{warmup}", head_warmup=warmup, **same)
        out = finetune(chosen)
        assert bool(moved(out / "encoder-at-10", encoder_folder)) == (warmup == 0.0)
        assert moved(out / "encoder", encoder_folder)


def test_l2sp_holds_a_cnn_that_is_trained_too(encoder_folder, tmp_path):
    base = tensors(encoder_folder)
    far = []
    for strength in (0.0, 1000.0):
        values = {"method": "l2sp", "l2sp_strength": strength, **BARE, "steps": 8}
        out = finetune(settings(encoder_folder, tmp_path / f"{strength}", **values))
        after = tensors(out / "encoder")
        far.append(sum(float((after[n] - base[n]).square().sum()) for n in front_end(base)))
    assert far[1] < 0.5 * far[0]


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"hubert", "unispeech-sat"}))
@pytest.mark.parametrize("frozen", [True, False])
def test_with_every_family(tmp_path, family, frozen):
    base = build_encoder(config_of(family), seed=0).save(tmp_path / "base")
    values = {**BARE, "freeze_front_end": frozen, "steps": 2}
    out = finetune(settings(base, tmp_path / "run", task="pc", **values))
    names = moved(out / "encoder", base)
    front = [n for n in names if n in build_encoder(config_of(family), 0).front_end_parameters()]
    has_cnn = family not in ("decoar2", "wav2vec2-bert")
    assert bool(front) == (has_cnn and not frozen)
    assert len(names) > len(front)
    assert not [n for n in names if n.startswith("decoder.")]
