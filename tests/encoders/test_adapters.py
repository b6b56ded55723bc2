"""PEFT folders: merged into their encoder, whatever else was trained beside it."""

from __future__ import annotations

import json

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, HubertForCTC, HubertForSequenceClassification

from speechft.core.errors import CheckpointError
from speechft.encoders import load_encoder
from speechft.encoders.load import read_checkpoint

TARGETS = ["q_proj", "v_proj"]


@pytest.fixture
def adapted(tmp_path, tiny_config):
    """Train nothing, but make every adapter's weights count; give the folder and the model."""

    def make(model_class, settings):
        torch.manual_seed(0)
        model = model_class(AutoConfig.for_model(**tiny_config("hubert")))
        model.save_pretrained(tmp_path / "base")
        peft_model = get_peft_model(model_class.from_pretrained(tmp_path / "base"), settings)
        parts = ("lora_B", "ia3_l", "hada_", "modules_to_save")
        for name, parameter in peft_model.named_parameters():
            if any(part in name for part in parts):
                torch.nn.init.normal_(parameter, 1.0, 3.0 if "ia3" in name else 0.4)
        peft_model.save_pretrained(tmp_path / "adapter")
        return tmp_path / "adapter", peft_model.eval()

    return make


KINDS = {
    "lora with a trained head": (
        HubertForCTC,
        LoraConfig(r=2, target_modules=TARGETS, modules_to_save=["lm_head"]),
    ),
    "lora of a classifier": (
        HubertForSequenceClassification,
        LoraConfig(r=2, target_modules=TARGETS, task_type=TaskType.SEQ_CLS),
    ),
    "dora": (HubertForCTC, LoraConfig(r=2, target_modules=TARGETS, use_dora=True)),
    "ia3": (HubertForCTC, IA3Config(target_modules=["k_proj", "v_proj"], feedforward_modules=[])),
    "loha": (HubertForCTC, LoHaConfig(r=2, target_modules=TARGETS)),
}


@pytest.mark.parametrize(("model_class", "settings"), KINDS.values(), ids=KINDS.keys())
def test_adapters_of_models_with_heads(adapted, model_class, settings, waveforms, offset):
    folder, model = adapted(model_class, settings)
    encoder = load_encoder(folder)
    with torch.no_grad():
        wanted = model.base_model.model.hubert(waveforms[0][None]).last_hidden_state
        found = encoder([waveforms[0]]).hidden_states[-1]
        base = load_encoder(folder.parent / "base")([waveforms[0]]).hidden_states[-1]
    assert offset(found, wanted) < 1e-4
    assert offset(base, wanted) > 1e-3
    heads = [n for n in load_file(folder / "adapter_model.safetensors") if "hubert" not in n]
    side = read_checkpoint(folder).side.tensors
    for name in heads:
        plain = name.removeprefix("base_model.model.")
        assert torch.equal(side[plain], load_file(folder / "adapter_model.safetensors")[name])
    assert bool(heads) == ("head" in str(settings.modules_to_save) or "SEQ" in str(settings))


@pytest.mark.parametrize("kind", ["lora with a trained head", "loha", "ia3"])
def test_an_adapter_that_lacks_a_tensor_is_refused(adapted, kind):
    folder, _ = adapted(*KINDS[kind])
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(n for n in tensors if "encoder.layers" in n)
    del tensors[name]
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"does not fit[\s\S]*missing: "):
        load_encoder(folder)


def edit(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_adapter_finds_its_encoder_or_says_how(adapted, tmp_path):
    folder, _ = adapted(*KINDS["dora"])
    whole = load_encoder(folder).fingerprint()
    edit(folder, base_model_name_or_path=str(tmp_path / "gone"), a_setting_of_the_future=1)
    with pytest.raises(CheckpointError, match=r"adapter's encoder[\s\S]*convert ADAPTER FOLDER"):
        load_encoder(folder)
    assert load_encoder(folder, base=tmp_path / "base").fingerprint() == whole
    for name in (None, 5, ""):
        edit(folder, base_model_name_or_path=name)
        with pytest.raises(CheckpointError, match="does not say which encoder"):
            load_encoder(folder)
    edit(folder, base_model_name_or_path=str(folder))
    with pytest.raises(CheckpointError, match="or to itself"):
        load_encoder(folder)


@pytest.mark.parametrize("values", [{"peft_type": "EVIL"}, {"peft_type": None}, {"r": "x"}])
def test_settings_that_are_none_of_an_adapter(adapted, values):
    folder, _ = adapted(*KINDS["dora"])
    edit(folder, **values)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_encoder(folder)


@pytest.mark.parametrize("kind", ["sew", "wav2vec2-conformer", "bert"])
def test_relatives_that_are_not_supported_are_refused_when_loaded(tmp_path, tiny_config, kind):
    sizes = {k: v for k, v in tiny_config("hubert").items() if k != "model_type"}
    if kind == "sew":
        sizes |= {"conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2)}
    AutoModel.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"no speech encoder of a known family[\s\S]*where"):
        load_encoder(tmp_path / "x")
