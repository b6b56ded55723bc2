"""Every way in which a user may hold an encoder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    HubertForCTC,
    Wav2Vec2ForPreTraining,
    Wav2Vec2ForSequenceClassification,
    WavLMForXVector,
)

from speechft.core.errors import CheckpointError, SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.fairseq_layout import format_conv_spec, parse_conv_spec
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
TOLERANCE = 1e-4


def reference_weights(name):
    content = torch.load(PARITY / f"{name}.pt", weights_only=True)
    return content, content.get("model_weight", content.get("model"))


@pytest.fixture
def hub_folder(tmp_path, tiny_config):
    """A folder as on the Hub, the encoder that it holds, and its state dict."""

    def make(kind):
        encoder = build_encoder(tiny_config(kind), seed=3)
        return encoder.save(tmp_path / "hub"), encoder

    return make


def replace_weights(folder, tensors, name="pytorch_model.bin"):
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(tensors, folder / name)


def old_names(tensors):
    names = {".parametrizations.weight.original0": ".weight_g"}
    names[".parametrizations.weight.original1"] = ".weight_v"
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = tensor
    return renamed


def test_legacy_weight_norm_names_and_bin_files(hub_folder):
    folder, encoder = hub_folder("wavlm")
    tensors = old_names(load_file(folder / "model.safetensors"))
    assert any(name.endswith("weight_g") for name in tensors)
    replace_weights(folder, tensors)
    assert load_encoder(folder).fingerprint() == encoder.fingerprint()


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_sharded_folders(hub_folder, suffix):
    folder, encoder = hub_folder("hubert")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = sorted(tensors)
    index = {}
    for number, part in enumerate((names[:20], names[20:])):
        file = f"{stem}-0000{number + 1}-of-00002.{suffix}"
        shard = {name: tensors[name] for name in part}
        save = save_file if suffix == "safetensors" else torch.save
        save(shard, folder / file)
        index |= dict.fromkeys(part, file)
    index_file = folder / f"{stem}.{suffix}.index.json"
    index_file.write_text(json.dumps({"weight_map": index}))
    assert load_encoder(folder).fingerprint() == encoder.fingerprint()
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match="shard"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("kind", "model_class"),
    [
        ("hubert", HubertForCTC),
        ("wavlm", WavLMForXVector),
        ("wav2vec2", Wav2Vec2ForPreTraining),
        ("wav2vec2-large", Wav2Vec2ForSequenceClassification),
    ],
)
def test_models_with_heads(tmp_path, tiny_config, kind, model_class):
    config = AutoConfig.for_model(**tiny_config(kind))
    torch.manual_seed(0)
    model = model_class(config)
    model.save_pretrained(tmp_path / "head")
    encoder = load_encoder(tmp_path / "head")
    base = getattr(model, model.base_model_prefix).state_dict()
    assert encoder.model.state_dict().keys() == base.keys()
    assert all(torch.equal(encoder.model.state_dict()[n], t) for n, t in base.items())
    heads = set(model.state_dict()) - {f"{model.base_model_prefix}.{n}" for n in base}
    assert len(encoder.side.tensors) == len(heads) > 0


def test_pre_training_heads_find_their_place_in_fairseq(tmp_path, tiny_config):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**tiny_config("wav2vec2"), codevector_dim=48)
    model = Wav2Vec2ForPreTraining(config)
    model.save_pretrained(tmp_path / "head")
    write_checkpoint(read_checkpoint(tmp_path / "head"), tmp_path / "w.pt", "s3prl")
    weights = torch.load(tmp_path / "w.pt", weights_only=True)["model_weight"]
    assert torch.equal(weights["quantizer.vars"], model.quantizer.codevectors)
    assert torch.equal(weights["final_proj.weight"], model.project_hid.weight)
    assert torch.equal(weights["project_q.bias"], model.project_q.bias)


@pytest.mark.parametrize("prefix", ["model.", "module.model."])
def test_s3prl_downstream_checkpoints(tmp_path, prefix, offset):
    """`Upstream` holds no settings: sizes come from shapes, or from the encoder it started from."""
    for name in ("hubert-tiny", "wav2vec2-large-style-tiny", "decoar2-tiny", "wavlm-tiny"):
        _, weights = reference_weights(name)
        tensors = {prefix + n: t for n, t in weights.items()}
        args = argparse.Namespace(upstream=name.split("-")[0], downstream="asr")
        content = {"Upstream": tensors, "Downstream": {"w": torch.ones(2)}, "Args": args}
        torch.save({**content, "Epoch": 3, "Optimizer": {"state": {}}}, tmp_path / "states.ckpt")
        original = load_encoder(PARITY / f"{name}.pt")
        found = read_checkpoint(tmp_path / "states.ckpt", base=PARITY / f"{name}.pt")
        assert found.format == "s3prl-downstream"
        assert all(torch.equal(found.tensors[n], t) for n, t in original.model.state_dict().items())
        assert found.family == original.family
        inferred = read_checkpoint(tmp_path / "states.ckpt").config.to_diff_dict()
        given = original.config.to_diff_dict()
        for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "conv_dim"):
            assert inferred.get(key) == given.get(key), (name, key)
        if name != "wavlm-tiny":  # its tiny bucket distance leaves no trace in shapes
            wave = torch.randn(4000, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                state = load_encoder(tmp_path / "states.ckpt")([wave])[0][-1]
                assert offset(state, original([wave])[0][-1]) < 2e-3


def test_s3prl_downstream_of_a_hugging_face_upstream(tmp_path, hub_folder):
    folder, encoder = hub_folder("hubert")
    tensors = {f"model.{n}": t for n, t in encoder.model.state_dict().items()}
    torch.save({"Upstream": tensors, "Downstream": {}}, tmp_path / "s.ckpt")
    with pytest.raises(CheckpointError, match="--base"):
        read_checkpoint(tmp_path / "s.ckpt")
    found = read_checkpoint(tmp_path / "s.ckpt", base=folder)
    assert all(torch.equal(found.tensors[n], t) for n, t in encoder.model.state_dict().items())


def fairseq_file(name, cfg=True, prefix="", drop=()):
    content, weights = reference_weights(name)
    weights = {prefix + n: t for n, t in weights.items() if not n.startswith(tuple(drop))}
    model, task = content["model_cfg"], content["task_cfg"]
    kind = name.split("-")[0]
    if cfg:
        settings = {"cfg": {"model": {"_name": kind, **model}, "task": task}, "args": None}
    else:
        names = {**task, **model, "arch": kind}
        settings = {"args": argparse.Namespace(**names)}
    return {**settings, "model": weights, "last_optimizer_state": {"state": {}}}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("cfg", [False, True])
@pytest.mark.parametrize("name", ["hubert-tiny", "wav2vec2-large-style-tiny"])
def test_fairseq_originals(tmp_path, name, cfg, legacy):
    path = tmp_path / "checkpoint_best.pt"
    content = fairseq_file(name, cfg)
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    wanted, found = load_encoder(PARITY / f"{name}.pt"), load_encoder(path)
    assert found.family == wanted.family
    assert found.fingerprint() == wanted.fingerprint()
    assert found.preprocessor == wanted.preprocessor
    assert found.side.tensors.keys() == wanted.side.tensors.keys()


def test_fairseq_continued_pre_training_with_other_units(tmp_path):
    content = fairseq_file("hubert-tiny", drop=["label_embs_concat"])
    content["model"]["label_embs_concat"] = torch.randn(25, 24)
    torch.save(content, tmp_path / "c.pt")
    found = read_checkpoint(tmp_path / "c.pt")
    assert found.side.tensors["label_embs_concat"].shape == (25, 24)
    write_checkpoint(found, tmp_path / "s.pt", "s3prl")
    symbols = torch.load(tmp_path / "s.pt", weights_only=True)["dictionaries_symbols"]
    assert sum(map(len, symbols)) == 25


def test_fairseq_files_fine_tuned_with_ctc(tmp_path):
    content = fairseq_file("wav2vec2-tiny", prefix="w2v_encoder.w2v_model.")
    inner = content["cfg"]
    content["cfg"] = {"model": {"_name": "wav2vec_ctc", "w2v_args": inner}, "task": {}}
    content["model"]["w2v_encoder.proj.weight"] = torch.randn(30, 48)
    torch.save(content, tmp_path / "ctc.pt")
    found = read_checkpoint(tmp_path / "ctc.pt")
    assert found.dropped == ("w2v_encoder.proj.weight",)
    wanted = load_encoder(PARITY / "wav2vec2-tiny.pt")
    assert load_encoder(tmp_path / "ctc.pt").fingerprint() == wanted.fingerprint()


def test_spin_lightning_files(tmp_path):
    _, weights = reference_weights("hubert-tiny")
    parts = ("final_proj", "label_embs_concat")
    state = {f"encoder.model.{n}": t for n, t in weights.items() if not n.startswith(parts)}
    state["loss_module.codebook.weight"] = torch.randn(4, 4)
    content = {"state_dict": state, "pytorch-lightning_version": "1.9", "epoch": 4}
    torch.save(
        {**content, "hyper_parameters": {"config": {}}, "callbacks": {}}, tmp_path / "s.ckpt"
    )
    found = read_checkpoint(tmp_path / "s.ckpt")
    wanted = read_checkpoint(PARITY / "hubert-tiny.pt")
    assert found.format == "spin"
    assert all(torch.equal(found.tensors[n], t) for n, t in wanted.tensors.items())
    assert found.dropped == ("loss_module.codebook.weight",)
    write_checkpoint(found, tmp_path / "back.pt", "s3prl")
    back = torch.load(tmp_path / "back.pt", weights_only=True)["model_weight"]
    assert not back["final_proj.weight"].any()


def test_decoar_originals_carry_their_other_parts(tmp_path):
    _, weights = reference_weights("decoar2-tiny")
    weights["quantizer.vars"] = torch.randn(1, 4, 2)
    torch.save({"model": weights, "epoch": 1}, tmp_path / "decoar2.pt")
    found = read_checkpoint(tmp_path / "decoar2.pt")
    assert list(found.side.tensors) == ["quantizer.vars"]
    del weights["encoder.layers.1.fc1.bias"]
    weights["encoder.layers.1.fc9.bias"] = torch.ones(1)
    torch.save({"model": weights}, tmp_path / "decoar2.pt")
    with pytest.raises(CheckpointError, match="fc9"):
        load_encoder(tmp_path / "decoar2.pt")


def test_decoar_is_a_transformers_model(tmp_path, waveforms, offset):
    encoder = load_encoder(PARITY / "decoar2-tiny.pt")
    encoder.save(tmp_path / "d")
    model = AutoModel.from_pretrained(tmp_path / "d").eval()
    model.save_pretrained(tmp_path / "again")
    assert load_encoder(tmp_path / "again").fingerprint() == encoder.fingerprint()
    batch = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    lengths = torch.tensor([len(w) for w in waveforms])
    mask = (torch.arange(batch.shape[1])[None] < lengths[:, None]).long()
    with torch.no_grad():
        found = model(batch, attention_mask=mask).last_hidden_state
        for i, wave in enumerate(waveforms[:3]):
            [wanted] = encoder([wave]).hidden_states[-1]
            assert offset(found[i, : len(wanted)], wanted) < TOLERANCE
    assert encoder.front_end_parameters() == {}
    assert encoder.hop == 320


def test_missing_pre_training_parts_become_placeholders(tmp_path, hub_folder):
    folder, encoder = hub_folder("hubert")
    write_checkpoint(read_checkpoint(folder), tmp_path / "s.pt", "s3prl")
    content = torch.load(tmp_path / "s.pt", weights_only=True)
    assert content["model_weight"]["label_embs_concat"].shape == (504, 256)
    assert len(content["dictionaries_symbols"][0]) == 504
    assert load_encoder(tmp_path / "s.pt").fingerprint() == encoder.fingerprint()


def test_adapters_are_merged(tmp_path, hub_folder, waveforms, offset):
    from peft import LoraConfig, get_peft_model

    folder, encoder = hub_folder("hubert")
    model = AutoModel.from_pretrained(folder)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    adapted.save_pretrained(tmp_path / "adapter")
    merged = load_encoder(tmp_path / "adapter")
    with torch.no_grad():
        wanted = adapted.eval()(waveforms[0][None]).last_hidden_state
        found = merged([waveforms[0]]).hidden_states[-1]
        assert offset(found, wanted) < TOLERANCE
        assert offset(found, encoder([waveforms[0]]).hidden_states[-1]) > 0.01
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    settings["r"] = 3
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_encoder(tmp_path / "adapter")


def test_unknown_formats_and_families_are_refused(tmp_path, hub_folder):
    folder, _ = hub_folder("unispeech")
    with pytest.raises(CheckpointError, match="unispeech"):
        write_checkpoint(read_checkpoint(folder), tmp_path / "x.pt", "s3prl")
    with pytest.raises(SettingsError, match="s3prl"):
        write_checkpoint(read_checkpoint(folder), tmp_path / "x.pt", "s3prI")
    assert not (tmp_path / "x.pt").exists()


def test_weights_called_model_state_dict(tmp_path, hub_folder):
    """OpenAI's own Whisper files were refused as a format that is not known, not by name."""
    whisper = {"encoder.blocks.0.attn.query.weight": torch.zeros(4, 4)}
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": whisper}, tmp_path / "tiny.pt")
    with pytest.raises(CheckpointError, match="a Whisper file of OpenAI's"):
        load_encoder(tmp_path / "tiny.pt")
    folder, encoder = hub_folder("hubert")
    tensors = load_file(folder / "model.safetensors")
    loop = {"epoch": 3, "model_state_dict": tensors, "optimizer_state_dict": {"state": {}}}
    torch.save(loop, tmp_path / "loop.pt")
    found = load_encoder(tmp_path / "loop.pt", base=folder)
    assert found.fingerprint() == encoder.fingerprint()


def test_half_precision_is_kept_by_conversion_and_widened_by_loading(tmp_path, hub_folder):
    folder, _ = hub_folder("hubert")
    tensors = {n: t.half() for n, t in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    write_checkpoint(read_checkpoint(folder), tmp_path / "copy", "hf")
    assert (
        load_file(tmp_path / "copy" / "model.safetensors")["masked_spec_embed"].dtype == torch.half
    )
    assert load_encoder(tmp_path / "copy").model.masked_spec_embed.dtype == torch.float32


def test_convolutions_are_read_as_data():
    text = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    layers = parse_conv_spec(text)
    assert layers == [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    assert parse_conv_spec(format_conv_spec(layers)) == layers
    for bad in ("__import__('os')", "[(1,2)]", "[(1,2,3)] * 10**9", "(", "[x]"):
        with pytest.raises(CheckpointError):
            parse_conv_spec(bad)


def test_a_fairseq_file_with_real_omegaconf_objects():
    """Written with omegaconf 2.4: nodes, metadata with types, an enumeration, a dictionary."""
    path = PARITY.parent / "checkpoints" / "fairseq-hubert-tiny.pt"
    found, wanted = load_encoder(path), load_encoder(PARITY / "hubert-tiny.pt")
    assert found.fingerprint() == wanted.fingerprint()
    assert found.preprocessor == wanted.preprocessor
    assert found.side.source["dictionaries_symbols"] == [[str(unit) for unit in range(10)]]
    settings, known = found.side.source["model_cfg"], wanted.side.source["model_cfg"]
    assert {name: settings[name] for name in known} == known


def test_a_file_that_is_named_is_the_one_that_is_read(hub_folder, tiny_config):
    folder, encoder = hub_folder("hubert")
    other = build_encoder(tiny_config("hubert"), seed=9)
    save_file(other.model.state_dict(), folder / "other.safetensors")
    torch.save(other.model.state_dict(), folder / "other.bin")
    assert load_encoder(folder / "model.safetensors").fingerprint() == encoder.fingerprint()
    assert load_encoder(folder / "config.json").fingerprint() == encoder.fingerprint()
    for name in ("other.safetensors", "other.bin"):
        assert load_encoder(folder / name).fingerprint() == other.fingerprint()


def test_hub_ids(hub_folder, monkeypatch):
    """The Hub's folder is read; old weights are fetched only where there are no safetensors."""
    import huggingface_hub

    folder, encoder = hub_folder("hubert")
    asked = []

    def download(name, allow_patterns=(), local_files_only=False, **_options):
        if local_files_only:
            raise FileNotFoundError(name)
        asked.append((name, allow_patterns))
        if "pytorch_model*.bin" in allow_patterns:
            replace_weights(folder, encoder.model.state_dict())
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_encoder("owner/name").fingerprint() == encoder.fingerprint()
    assert len(asked) == 1
    (folder / "model.safetensors").unlink()
    assert load_encoder("owner/name").fingerprint() == encoder.fingerprint()
    assert len(asked) == 3
