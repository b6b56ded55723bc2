"""Encoders as transformers and other libraries store them, merged from folder to folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_configs import SHORT_FRONT_END
from transformers import (
    AutoModel,
    HubertConfig,
    HubertForCTC,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

from speechft.core.errors import IncompatibleModelsError
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge

TINY = {**SHORT_FRONT_END, "vocab_size": 12}
#: What sets the Large encoders apart: normalised waveforms, layer norms, pre-norm layers.
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def save(model: torch.nn.Module, folder: Path, **preprocessor: object) -> Path:
    model.save_pretrained(folder)
    settings = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", **preprocessor}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def legacy_names(folder: Path) -> None:
    """Store weight-norm pairs as files of the years before parametrizations do."""
    state = load_file(folder / "model.safetensors")
    renamed = {
        k.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): v
        for k, v in state.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def modern_names(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    renamed = {
        k.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): v
        for k, v in state.items()
    }
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


def hidden(folder: Path) -> torch.Tensor:
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    waveform = torch.sin(torch.arange(2000) / 7)[None]
    with torch.no_grad():
        return model.eval()(waveform).last_hidden_state


@pytest.fixture
def ctc_pair(tmp_path: Path) -> tuple[Path, Path]:
    """hubert-large-ll60k (a bare HubertModel) and hubert-large-ls960-ft (a HubertForCTC)."""
    torch.manual_seed(0)
    base = HubertModel(HubertConfig(**TINY, **LARGE))
    tuned = HubertForCTC(HubertConfig(**TINY, **LARGE))
    return (
        save(base, tmp_path / "facebook" / "hubert-large-ll60k", do_normalize=True),
        save(tuned, tmp_path / "facebook" / "hubert-large-ls960-ft", do_normalize=True),
    )


@pytest.mark.parametrize("spelling", [legacy_names, modern_names])
def test_a_ctc_model_merges_into_its_base_in_one_line(
    ctc_pair: tuple[Path, Path], tmp_path: Path, spelling, monkeypatch: pytest.MonkeyPatch, capsys
):
    from speechft.cli.app import main

    spelling(ctc_pair[1])
    monkeypatch.chdir(tmp_path)
    line = "merge facebook/hubert-large-ll60k facebook/hubert-large-ls960-ft --alpha 0.25 --out m"
    with pytest.raises(SystemExit) as stop:
        main(line.split())
    assert stop.value.code == 0
    assert capsys.readouterr().out == "m\n"
    out = load_file(tmp_path / "m" / "model.safetensors")
    base = load_file(ctc_pair[0] / "model.safetensors")
    assert set(out) == set(base)
    assert not any(name.startswith(("lm_head", "hubert.")) for name in out)
    tuned = load_file(ctc_pair[1] / "model.safetensors")
    assert "lm_head.weight" in tuned
    q = "encoder.layers.1.attention.q_proj.weight"
    expected = base[q] + 0.25 * (tuned[f"hubert.{q}"] - base[q])
    assert torch.equal(out[q], expected)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["architectures"] == ["HubertModel"]
    assert config["do_stable_layer_norm"] is True
    assert config["feat_extract_norm"] == "layer"
    preprocessor = json.loads((tmp_path / "m" / "preprocessor_config.json").read_text())
    assert preprocessor["do_normalize"] is True
    states = [hidden(tmp_path / "m"), hidden(ctc_pair[0])]
    states.append(hidden_of_ctc(ctc_pair[1]))
    assert torch.isfinite(states[0]).all()
    assert not torch.allclose(states[0], states[1], atol=1e-3)
    assert not torch.allclose(states[0], states[2], atol=1e-3)


def hidden_of_ctc(folder: Path) -> torch.Tensor:
    waveform = torch.sin(torch.arange(2000) / 7)[None]
    model = HubertForCTC.from_pretrained(folder).eval()
    with torch.no_grad():
        return model.hubert(waveform).last_hidden_state


def test_the_weight_norm_pair_is_merged_whatever_its_spelling(ctc_pair: tuple[Path, Path]):
    base, tuned = ctc_pair
    legacy_names(base)
    modern_names(tuned)
    out = merge(MergeSettings(base=base, tuned=(tuned,), alpha=1.0, out=base.parent / "m"))
    state = load_file(out / "model.safetensors")
    wanted = load_file(tuned / "model.safetensors")
    prefix = "encoder.pos_conv_embed.conv."
    assert torch.equal(
        state[prefix + "weight_g"], wanted[f"hubert.{prefix}parametrizations.weight.original0"]
    )
    assert torch.equal(hidden(out), hidden_of_ctc(tuned))


def test_pickled_weights_of_the_hub_merge_too(ctc_pair: tuple[Path, Path]):
    base, tuned = ctc_pair
    expected = merge(MergeSettings(base=base, tuned=(tuned,), alpha=0.25, out=base.parent / "a"))
    for folder in ctc_pair:
        legacy_names(folder)
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    out = merge(MergeSettings(base=base, tuned=(tuned,), alpha=0.25, out=base.parent / "b"))
    assert torch.equal(hidden(out), hidden(expected))


def test_pretraining_heads_of_base_are_dropped_or_kept(tmp_path: Path):
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **TINY, codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=4,
        num_codevector_groups=2, mask_time_prob=0.0, mask_feature_prob=0.0,
    )  # fmt: skip
    base = save(Wav2Vec2ForPreTraining(config), tmp_path / "base")
    tuned = save(Wav2Vec2Model(config), tmp_path / "tuned")
    dropped = merge(MergeSettings(base=base, tuned=(tuned,), alpha=1.0, out=tmp_path / "d"))
    assert torch.equal(hidden(dropped), hidden(tuned))
    assert json.loads((dropped / "config.json").read_text())["architectures"] == ["Wav2Vec2Model"]
    record = json.loads((dropped / "speechft.json").read_text())
    assert "quantizer.codevectors" in record["dropped"]

    kept = merge(
        MergeSettings(base=base, tuned=(tuned,), alpha=1.0, out=tmp_path / "k", heads="base")
    )
    state, original = (load_file(p / "model.safetensors") for p in (kept, base))
    assert list(state) == list(original)
    assert torch.equal(state["quantizer.codevectors"], original["quantizer.codevectors"])
    assert "quantizer.codevectors" in json.loads((kept / "speechft.json").read_text())["kept"]
    model, info = Wav2Vec2ForPreTraining.from_pretrained(kept, output_loading_info=True)
    assert not info["missing_keys"]
    assert isinstance(model, Wav2Vec2ForPreTraining)


def test_a_missing_mask_embedding_is_bases(tmp_path: Path):
    torch.manual_seed(0)
    base = save(HubertModel(HubertConfig(**TINY)), tmp_path / "base")
    tuned = save(
        HubertModel(HubertConfig(**TINY, mask_time_prob=0.0, mask_feature_prob=0.0)),
        tmp_path / "tuned",
    )
    states = [load_file(p / "model.safetensors") for p in (base, tuned)]
    assert "masked_spec_embed" in states[0]
    assert "masked_spec_embed" not in states[1]
    out = merge(MergeSettings(base=base, tuned=(tuned,), alpha=0.5, out=tmp_path / "out"))
    state = load_file(out / "model.safetensors")
    assert torch.equal(state["masked_spec_embed"], states[0]["masked_spec_embed"])
    back = merge(MergeSettings(base=tuned, tuned=(base,), alpha=0.5, out=tmp_path / "back"))
    assert "masked_spec_embed" not in load_file(back / "model.safetensors")


def test_causes_are_named(tmp_path: Path):
    torch.manual_seed(0)
    base = save(HubertModel(HubertConfig(**TINY)), tmp_path / "base")
    wide = save(HubertModel(HubertConfig(**{**TINY, "hidden_size": 32})), tmp_path / "wide")
    deep = save(HubertModel(HubertConfig(**{**TINY, "num_hidden_layers": 4})), tmp_path / "deep")
    other = save(Wav2Vec2Model(Wav2Vec2Config(**{**TINY, **LARGE})), tmp_path / "other")
    for tuned, cause in (
        (wide, "TUNED is 32 wide, BASE 16"),
        (deep, "TUNED has 4 layers, BASE 2"),
        (other, "TUNED is of the family wav2vec2, BASE of hubert"),
    ):
        with pytest.raises(IncompatibleModelsError, match=cause):
            merge(MergeSettings(base=base, tuned=(tuned,), out=tmp_path / "out"))


def test_an_s3prl_file_keeps_its_format(tmp_path: Path):
    from speechft.encoders.formats.write import write_checkpoint
    from speechft.encoders.load import read_checkpoint

    torch.manual_seed(0)
    folders = [
        save(HubertModel(HubertConfig(**TINY)), tmp_path / name, do_normalize=False)
        for name in ("base", "tuned")
    ]
    files = [
        write_checkpoint(read_checkpoint(folder), folder.with_suffix(".pt"), "s3prl")
        for folder in folders
    ]
    out = merge(MergeSettings(base=files[0], tuned=(files[1],), alpha=0.25, out=tmp_path / "out"))
    direct = merge(
        MergeSettings(base=folders[0], tuned=(folders[1],), alpha=0.25, out=tmp_path / "direct")
    )
    assert torch.equal(hidden(out), hidden(direct))
    again = read_checkpoint(out / "base.pt")
    assert again.format == "s3prl"
    state = load_file(direct / "model.safetensors")
    assert set(state) == set(again.tensors) or len(state) == len(again.tensors)
    q = "encoder.layers.1.attention.q_proj.weight"
    assert torch.equal(again.tensors[q], state[q])
    mixed = merge(
        MergeSettings(base=folders[0], tuned=(files[1],), alpha=0.25, out=tmp_path / "mixed")
    )
    assert torch.equal(hidden(mixed), hidden(direct))
