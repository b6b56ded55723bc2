from __future__ import annotations

import json
import shutil

import pytest

from speechft.core.errors import CheckpointError
from speechft.encoders import build_encoder
from speechft.encoders.identity import encoder_id


@pytest.fixture
def config(tiny_config):
    return tiny_config("hubert")


@pytest.fixture
def folder(config, tmp_path):
    return build_encoder(config, seed=0).save(tmp_path / "encoder")


def changed(folder, tmp_path, file, **values):
    other = shutil.copytree(folder, tmp_path / f"{file}-{len(list(tmp_path.iterdir()))}")
    path = other / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return other


def test_weights_config_and_preprocessor_count_and_places_do_not(folder, config, tmp_path):
    before = encoder_id(str(folder))
    assert encoder_id(str(shutil.copytree(folder, tmp_path / "copy"))) == before
    assert encoder_id(str(changed(folder, tmp_path, "config.json", _name_or_path="x"))) == before
    others = [
        changed(folder, tmp_path, "preprocessor_config.json", do_normalize="flipped"),
        changed(folder, tmp_path, "config.json", layer_norm_eps=0.5),
        build_encoder(config, seed=1).save(tmp_path / "other"),
    ]
    assert len({before, *(encoder_id(str(other)) for other in others)}) == 4


def test_a_run_folder_stands_for_the_encoder_in_it(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run" / "encoder")
    assert encoder_id(str(tmp_path / "run")) == encoder_id(str(folder))


def test_packaged_names_and_hub_ids():
    assert encoder_id("tiny-hubert") != encoder_id("tiny-wavlm")
    assert encoder_id("owner/name") == "hub owner/name"
    with pytest.raises(CheckpointError, match="no such encoder"):
        encoder_id("nowhere")


def test_an_adapter_s_encoder_counts(folder, tmp_path):
    """Its weights may change under an adapter that stays as it is."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"low rank")
    settings = {"base_model_name_or_path": str(folder)}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    before = encoder_id(str(adapter))
    assert encoder_id(str(adapter)) == before
    (folder / "preprocessor_config.json").write_text('{"do_normalize": true, "changed": 1}')
    assert encoder_id(str(adapter)) != before
    settings["base_model_name_or_path"] = str(adapter)  # of another adapter, or of itself
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    assert encoder_id(str(adapter))
