"""Damaged checkpoints: each gives one clear error, and none is loaded partly."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder, load_encoder

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
LAYER = "encoder.layers.1.final_layer_norm.bias"
Damage = Callable[[Path], Path]


def edit_torch(name: str, change: Callable[[dict], None]) -> Damage:
    def damage(folder: Path) -> Path:
        content = torch.load(PARITY / f"{name}.pt", weights_only=True)
        change(content)
        torch.save(content, folder / "x.pt")
        return folder / "x.pt"

    return damage


def edit_weights(name: str, change: Callable[[dict], None]) -> Damage:
    def inner(content: dict) -> None:
        change(content["model_weight"] if "model_weight" in content else content["model"])

    return edit_torch(name, inner)


def edit_folder(change: Callable[[dict], None]) -> Damage:
    def damage(folder: Path) -> Path:
        tensors = load_file(folder / "hf" / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "hf" / "model.safetensors")
        return folder / "hf"

    return damage


def edit_config(**values: object) -> Damage:
    def damage(folder: Path) -> Path:
        path = folder / "hf" / "config.json"
        config = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps(config))
        return folder / "hf"

    return damage


def cut(source: str, share: float) -> Damage:
    def damage(folder: Path) -> Path:
        path = folder / source
        if not path.exists():
            shutil.copy(PARITY / source, path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        return path.parent if source.startswith("hf/") else path

    return damage


def flipped(seed: int) -> Damage:
    """Turn over bits in the middle of a file: its checksums tell."""

    def damage(folder: Path) -> Path:
        data = bytearray((PARITY / "hubert-tiny.pt").read_bytes())
        place = random.Random(seed).randrange(len(data) // 4, len(data) // 2)
        for i in range(64):
            data[place + i] ^= 0xFF
        (folder / "x.pt").write_bytes(data)
        return folder / "x.pt"

    return damage


def written(name: str, data: bytes) -> Damage:
    def damage(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return damage


def without(name: str) -> Damage:
    def damage(folder: Path) -> Path:
        (folder / "hf" / name).unlink()
        return folder / "hf"

    return damage


def swap_config(folder: Path) -> Path:
    build_encoder({"model_type": "wavlm", **SIZES}, 0).save(folder / "other")
    shutil.copy(folder / "other" / "config.json", folder / "hf" / "config.json")
    return folder / "hf"


SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
RNG = random.Random(0)
CASES: dict[str, Damage] = {
    **{f"torch file cut {n}": cut("hubert-tiny.pt", RNG.random()) for n in range(6)},
    **{f"wavlm file cut {n}": cut("wavlm-tiny.pt", RNG.random()) for n in range(3)},
    **{f"safetensors cut {n}": cut("hf/model.safetensors", RNG.random()) for n in range(4)},
    "config cut": cut("hf/config.json", 0.5),
    "bits flipped 0": flipped(0),
    "bits flipped 1": flipped(1),
    "zero bytes .pt": written("x.pt", b""),
    "zero bytes .safetensors": written("x.safetensors", b""),
    "zeros": written("x.ckpt", bytes(1000)),
    "a text file": written("x.pt", b"not a checkpoint\n" * 9),
    "a text file .bin": written("x.bin", b"hello"),
    "an audio file": written("x.wav", b"RIFF"),
    "an empty zip": written("x.pt", b"PK\x05\x06" + bytes(18)),
    "no config": without("config.json"),
    "no weights": without("model.safetensors"),
    "missing key": edit_weights("hubert-tiny", lambda w: w.pop(LAYER)),
    "missing keys wavlm": edit_weights(
        "wavlm-tiny", lambda w: w.pop("encoder.layers.2.self_attn.grep_a")
    ),
    "missing key decoar2": edit_weights("decoar2-tiny", lambda w: w.pop(LAYER)),
    "missing anchor": edit_weights("hubert-tiny", lambda w: w.pop("post_extract_proj.weight")),
    "extra key": edit_weights(
        "wav2vec2-tiny", lambda w: w.update({"encoder.layers.3.fc1.weight": torch.ones(96, 48)})
    ),
    "unknown key": edit_weights("hubert-tiny", lambda w: w.update(surprise=torch.ones(2))),
    "wrong shape": edit_weights("hubert-tiny", lambda w: w.update({LAYER: torch.ones(49)})),
    "wrong shape in folder": edit_folder(
        lambda w: w.update({"encoder.layer_norm.weight": torch.ones(3)})
    ),
    "missing key in folder": edit_folder(lambda w: w.pop(LAYER)),
    "unknown key in folder": edit_folder(
        lambda w: w.update({"encoder.layers.0.adapter.weight": torch.ones(3)})
    ),
    "no tensors in folder": edit_folder(lambda w: w.clear()),
    "wrong family": swap_config,
    "wrong family's settings": edit_torch(
        "hubert-large-style-tiny",
        lambda c: c.update(
            model_cfg=torch.load(PARITY / "hubert-tiny.pt", weights_only=True)["model_cfg"]
        ),
    ),
    "one layer less than said": edit_torch(
        "hubert-tiny", lambda c: c["model_cfg"].update(encoder_layers=4)
    ),
    "convolutions as code": edit_torch(
        "hubert-tiny", lambda c: c["model_cfg"].update(conv_feature_layers="__import__('os')")
    ),
    "unsupported variant": edit_torch(
        "hubert-tiny", lambda c: c["model_cfg"].update(layer_type="conformer")
    ),
    "weights are a list": edit_torch("hubert-tiny", lambda c: c.update(model_weight=[1, 2])),
    "another program's file": edit_torch(
        "hubert-tiny", lambda c: (c.clear(), c.update(generator={}, step=3))
    ),
    "unknown model type": edit_config(model_type="whubert"),
    "a text model": edit_config(model_type="bert"),
    "bad value in config": edit_config(hidden_size="many"),
    "heads do not divide": edit_config(num_attention_heads=5),
}


def test_there_are_enough_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("damage", CASES.values(), ids=CASES.keys())
def test_one_clear_error(damage, tmp_path):
    build_encoder({"model_type": "hubert", **SIZES}, 0).save(tmp_path / "hf")
    load_encoder(tmp_path / "hf")
    path = damage(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(path)
    message = str(caught.value)
    assert "where:" in message
    assert caught.value.exit_code == 4
    assert caught.value.__cause__ is None


def test_all_bad_tensors_are_listed_at_once(tmp_path):
    def change(weights):
        weights.pop("encoder.layers.0.fc1.bias")
        weights.pop("encoder.layers.2.self_attn.q_proj.weight")
        weights["encoder.layer_norm.bias"] = torch.ones(5)

    path = edit_weights("hubert-tiny", change)(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_encoder(path)
    for name in ("feed_forward.intermediate_dense.bias", "attention.q_proj", "encoder.layer_norm"):
        assert name in str(caught.value)


def test_a_wrong_path_says_so(tmp_path):
    for name in (tmp_path / "nothing", str(tmp_path / "x.pt"), "tiny-hubbert", "./here", "a.pt"):
        with pytest.raises(CheckpointError, match="no such encoder"):
            load_encoder(name)


def test_a_hub_id_without_network_is_one_clear_error(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(*_args, **_options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match="Hub could not be reached"):
        load_encoder("facebook/hubert-base-ls960")


def test_the_mask_embedding_alone_may_be_missing(tmp_path):
    """Fine-tuned checkpoints on the Hub lack it; nothing is initialised anew instead."""
    build_encoder({"model_type": "hubert", **SIZES}, 0).save(tmp_path / "hf")
    folder = edit_folder(lambda w: w.pop("masked_spec_embed"))(tmp_path)
    encoder = load_encoder(folder)
    assert not hasattr(encoder.model, "masked_spec_embed")
    encoder.save(tmp_path / "again")
    assert load_encoder(tmp_path / "again").fingerprint() == encoder.fingerprint()
