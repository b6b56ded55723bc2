"""A run said "already done" after `encoder/` or the weights in it had been deleted or damaged."""

import shutil

import pytest
from finetune_fixture import settings

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain


@pytest.fixture
def base(tmp_path, tiny_config):
    return build_encoder(tiny_config, seed=0).save(tmp_path / "base")


def finetuned(base, out):
    return finetune(settings(base, out, steps=4, evaluate_every=2, threads=1))


def pretrained(base, out):
    units = {"steps": 3, "clusters": 6, "layer": 1}
    given = {"data": "synthetic:tiny", "iterations": [units, units], "seconds": 10, "threads": 1}
    return pretrain(PretrainSettings(init=str(base), out=out, **given))


def damage(path, how):
    if how == "deleted":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("train", "name", "how"),
    [
        (finetuned, "encoder", "deleted"),
        (finetuned, "encoder/model.safetensors", "flipped"),
        (finetuned, "head.safetensors", "deleted"),
        (pretrained, "encoder/model.safetensors", "deleted"),
        (pretrained, "iteration-1/encoder", "deleted"),
    ],
)
def test_what_is_gone_or_damaged_is_made_again(base, tmp_path, train, name, how):
    out = train(base, tmp_path / "run")
    files = {p: p.read_bytes() for p in out.rglob("*.safetensors") if "extras" not in p.name}
    damage(out / name, how)
    train(base, out)
    assert {p: p.read_bytes() for p in files} == files


def test_a_best_encoder_that_is_gone_is_no_other_one(base, tmp_path):
    """It cannot be made from the last state: the last encoder may be another."""
    out = finetuned(base, tmp_path / "run")
    damage(out / "encoder-best" / "model.safetensors", "flipped")
    with pytest.raises(CheckpointError, match="kept on the way is gone") as caught:
        finetuned(base, out)
    assert f"remove {out}" in str(caught.value)
    shutil.rmtree(out)
    finetuned(base, out)
