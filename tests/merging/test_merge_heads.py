"""Heads at a merge: dropped, BASE's, TUNED's; a user's own model with its head in a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_configs import SHORT_FRONT_END as TINY
from transformers import (
    HubertConfig,
    HubertForCTC,
    HubertForSequenceClassification,
    HubertModel,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    pipeline,
)

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.settings import parse_settings
from speechft.encoders import load_encoder
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C"]
WAVE = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Heads that say something else for each frame."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    HubertModel(HubertConfig(**TINY)).save_pretrained(tmp_path / "base")
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def recogniser(base: Path) -> Path:
    """A user's own recogniser, as transformers' examples leave it."""
    torch.manual_seed(1)
    folder = base.with_name("ctc")
    config = HubertConfig(**TINY, vocab_size=len(LETTERS), pad_token_id=0)
    shaken(HubertForCTC(config)).save_pretrained(folder)
    folder.joinpath("vocab.json").write_text(json.dumps({s: i for i, s in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    return folder


def classifier(base: Path) -> Path:
    torch.manual_seed(2)
    folder = base.with_name("classes")
    config = HubertConfig(
        **TINY, id2label={0: "ann", 1: "bob"}, label2id={"ann": 0, "bob": 1},
        use_weighted_layer_sum=True, classifier_proj_size=8,
    )  # fmt: skip
    shaken(HubertForSequenceClassification(config)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def merged(base: Path, tuned: Path, name: str, **more: object) -> Path:
    values = {"base": base, "tuned": tuned, "out": base.with_name(name), **more}
    return merge(parse_settings(MergeSettings, values, where="test"))


@pytest.mark.parametrize("kind", [recogniser, classifier])
def test_a_users_model_keeps_its_head_and_runs_in_a_pipeline(base, kind):
    tuned = kind(base)
    task = "automatic-speech-recognition" if kind is recogniser else "audio-classification"
    at_one = merged(base, tuned, "one", alpha=1, heads="tuned")
    assert pipeline(task, str(at_one))(WAVE) == pipeline(task, str(tuned))(WAVE)
    half = merged(base, tuned, "half", alpha=0.5, heads="tuned")
    assert pipeline(task, str(half))(WAVE)
    states = [load_file(f / "model.safetensors") for f in (half, tuned, base)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        if name.startswith("hubert."):
            inner = name.removeprefix("hubert.")
            ends = states[1][name], states[2][inner]
            assert torch.allclose(tensor, sum(ends) / 2, atol=1e-6), name
        else:
            assert torch.equal(tensor, states[1][name]), name
    config, own = (json.loads((f / "config.json").read_text()) for f in (half, tuned))
    assert config["architectures"] == own["architectures"]
    record = json.loads((half / "speechft.json").read_text())
    assert {name.partition(".")[0] for name in record["heads"]} == {
        name.partition(".")[0] for name in states[1] if not name.startswith("hubert.")
    }
    encoders = [load_encoder(half), load_encoder(merged(base, tuned, "drop", alpha=0.5))]
    assert encoders[0].fingerprint() == encoders[1].fingerprint()


def test_the_head_has_the_type_of_the_result(base):
    tuned = recogniser(base)
    out = merged(base, tuned, "half", alpha=0.5, heads="tuned", dtype="float16")
    assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.float16}


def test_bases_head_is_kept_and_called_as_before(base):
    tuned = recogniser(base)
    out = merged(tuned, base, "base-head", alpha=0.5, heads="base")
    assert "lm_head.weight" in load_file(out / "model.safetensors")


def test_what_has_no_head_and_what_makes_no_sense_is_refused(base):
    tuned = recogniser(base)
    with pytest.raises(CheckpointError, match="no head to keep"):
        merged(tuned, base, "no", alpha=0.5, heads="tuned")
    with pytest.raises(SettingsError, match="sweep holds no heads"):
        merged(base, tuned, "no", alpha="0:1:0.5", heads="tuned")
    with pytest.raises(SettingsError, match="one TUNED"):
        merged(base, (tuned, tuned), "no", heads="tuned")
    with pytest.raises(SettingsError, match="needs data"):
        merged(base, tuned, "no", heads="refit")
    with pytest.raises(SettingsError, match="only with heads: refit"):
        merged(base, tuned, "no", task="asr")
    assert not base.with_name("no").exists()
