"""An encoder with a linear head as transformers' own class: the same logits, run by a pipeline."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModelForAudioClassification, AutoModelForCTC, pipeline

from speechft.core.errors import CheckpointError, SettingsError
from speechft.core.heard import Heard, write_heard
from speechft.core.settings import parse_settings
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.identity import heard_of
from speechft.encoders.settings import ConvertSettings
from speechft.heads.linear import Probe
from speechft.prediction.export import convert
from speechft.prediction.predict import predict
from speechft.prediction.settings import PredictSettings
from speechft.tasks import task_from_dict
from speechft.tasks.kept_head import HeadRecord, read_head, write_head

TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
TASKS = {
    "asr": {"symbols": ["'", "A", "B", "É", "|"]},
    "pr": {"symbols": ["AA", "B", "IY1"]},
    "sid": {"groups": {"speaker": ["ann", "bob", "carl"]}},
    "ic": {"groups": {"action": ["up", "down"], "object": ["heat", "light"]}},
    "sd": {"speakers": 2},
    "asv": {"speakers": ["ann", "bob"]},
}
WAVE = np.random.default_rng(3).normal(0, 0.1, 24000).astype(np.float32)


def model(folder, task, family="hubert", size="linear", probe=False, **config):
    encoder = build_encoder({"model_type": family, **TINY, **config}, seed=0)
    made = task_from_dict({"task": task, **TASKS[task]})
    torch.manual_seed(1)
    head = made.build_head(16, purpose="finetune", size=size)
    states = 3 if probe else None
    module = Probe(3, head) if probe else head
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn_like(parameter)
    record = {"task": made.to_dict(), "purpose": "finetune", "size": size, "width": 16}
    record |= {"states": states, "encoder": encoder.fingerprint()}
    encoder.save(
        folder,
        lambda f: write_head(f / "head.safetensors", module.state_dict(), HeadRecord(**record)),
    )
    return folder


def export(source, target, **more):
    values = {"source": source, "target": target, "to": "hf-head", **more}
    return convert(parse_settings(ConvertSettings, values, where="test"))


def ours(folder):
    encoder = load_encoder(folder)
    with torch.no_grad():
        return read_head(folder / "head.safetensors")(encoder([torch.from_numpy(WAVE)]))


def theirs(folder, kind):
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    wave = torch.from_numpy(WAVE)[None]
    if extractor["do_normalize"]:
        wave = (wave - wave.mean()) / torch.sqrt(wave.var(correction=0) + 1e-7)
    made = kind.from_pretrained(folder, output_loading_info=True)
    assert not made[1]["missing_keys"]
    assert not made[1]["unexpected_keys"]
    with torch.no_grad():
        return made[0](wave).logits


@pytest.mark.parametrize("style", [{}, LARGE], ids=["base", "large"])
@pytest.mark.parametrize(
    ("task", "family"), [("asr", "hubert"), ("asr", "wav2vec2"), ("asr", "wavlm"), ("pr", "hubert")]
)
def test_ctc_has_the_same_logits_and_text(tmp_path, family, task, style):
    size = "linear" if task == "asr" else "mini"
    source = model(tmp_path / "source", task, family, size, **style)
    out = export(source, tmp_path / "out")
    logits = theirs(out, AutoModelForCTC)
    assert torch.allclose(logits, ours(source), atol=1e-4)
    wave = tmp_path / "a.wav"
    soundfile.write(wave, WAVE, 16000, subtype="FLOAT")
    settings = {"encoder": source, "audio": wave, "device": "cpu"}
    (said,) = predict(parse_settings(PredictSettings, settings, where="test"))
    text = pipeline("automatic-speech-recognition", str(out))(WAVE)["text"]
    wanted = said["text"] if task == "asr" else " ".join(said["phonemes"])
    assert " ".join(text.replace("<unk>", "").split()) == wanted
    assert wanted


@pytest.mark.parametrize("style", [{}, LARGE], ids=["base", "large"])
@pytest.mark.parametrize("probe", [False, True], ids=["tuned", "probe"])
@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_classes_have_the_same_logits(tmp_path, family, probe, style):
    source = model(tmp_path / "source", "sid", family, probe=probe, **style)
    if probe and style:  # transformers sums another last state there
        with pytest.raises(SettingsError, match="on a weighted sum"):
            export(source, tmp_path / "out")
        return
    out = export(source, tmp_path / "out")
    logits = theirs(out, AutoModelForAudioClassification)
    assert torch.allclose(logits, ours(source), atol=1e-4)
    found = pipeline("audio-classification", str(out))(WAVE)
    likely = ours(source)[0].softmax(0)
    for one in found:
        index = TASKS["sid"]["groups"]["speaker"].index(one["label"])
        assert one["score"] == pytest.approx(float(likely[index]), abs=1e-4)
    assert load_encoder(out).fingerprint() == load_encoder(source).fingerprint()
    assert (out / "head.safetensors").read_bytes() == (source / "head.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("task", "size", "probe"),
    [
        ("asr", "mini", False),
        ("asr", "linear", True),
        ("ic", "linear", False),
        ("sd", "mini", False),
    ],
)
def test_a_head_without_a_class_is_refused_with_what_to_set(tmp_path, task, size, probe):
    source = model(tmp_path / "source", task, size=size, probe=probe)
    with pytest.raises(SettingsError, match="--head-size linear"):
        export(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bare_encoder_and_a_target_of_others_are_refused(tmp_path):
    source = model(tmp_path / "source", "sid")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="something else"):
        export(source, tmp_path / "out")
    (source / "head.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there is no head"):
        export(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert convert(
        parse_settings(
            ConvertSettings, {"source": source, "target": tmp_path / "new", "to": "hf"}, "test"
        )
    )


def test_what_was_heard_goes_along(tmp_path):
    model(tmp_path / "a", "sid")
    heard = Heard(frozenset([("0" * 16, 0, 900)]), frozenset([("", "1" * 16)]))
    write_heard(tmp_path / "a", heard)
    settings = {"source": str(tmp_path / "a"), "target": tmp_path / "b", "to": "hf-head"}
    assert heard_of(convert(ConvertSettings(**settings))) == heard
