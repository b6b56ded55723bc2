"""Whisper's encoder as people use it: alone in its folder, and with the context of an utterance."""

from __future__ import annotations

import json
from types import SimpleNamespace

import evaluate_fixture
import finetune_fixture
import pytest
import torch
from family_configs import config_of
from safetensors.torch import load_file
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechft.analysis.settings import AnalyzeSettings
from speechft.analysis.stage import analyze
from speechft.core.errors import CheckpointError, IncompatibleModelsError, SettingsError
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.identity import encoder_id
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.merging.sweep import load_merged
from speechft.prediction.embed import embed
from speechft.prediction.settings import EmbedSettings
from speechft.probing.evaluate import evaluate
from speechft.training.finetune.batch_order import task_order
from speechft.training.finetune.data import TaskData
from speechft.training.finetune.stage import finetune

CONTEXTS = ("30s", "utterance")
# Positions for 6.4 s: the "30 s" of a small one.
VALUES = {k: v for k, v in config_of("whisper").items() if k != "model_type"}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """An encoder-only folder, as `WhisperEncoder.save_pretrained` writes it, in float16."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("whisper") / "encoder"
    WhisperEncoder(WhisperConfig(**VALUES)).half().save_pretrained(folder)
    return folder


def preprocessor(folder):
    return json.loads((folder / "preprocessor_config.json").read_text())


def nudged(encoder, folder, context):
    """An encoder in another place, which was tuned in a context."""
    tuned = load_encoder(encoder, context=context)
    with torch.no_grad():
        for parameter in tuned.encoder_parameters().values():
            parameter += 0.01
    return tuned.save(folder)


def test_the_encoder_alone_loads_saves_and_loads(alone, tmp_path, waveforms, offset):
    encoder = load_encoder(alone)
    assert encoder.context == "30s"
    assert encoder.encoder_parameters().keys().isdisjoint(encoder.front_end_parameters())
    assert set(encoder.front_end_parameters()) == {
        f"conv{i}.{part}" for i in (1, 2) for part in ("weight", "bias")
    }
    encoder.save(tmp_path / "again")
    assert (
        load_file(tmp_path / "again/model.safetensors").keys() == encoder.model.state_dict().keys()
    )
    assert json.loads((tmp_path / "again/config.json").read_text())["architectures"] == [
        "WhisperEncoder"
    ]
    whole = build_encoder(config_of("whisper"), seed=0)
    whole.model.encoder.load_state_dict(encoder.model.state_dict())
    with torch.no_grad():
        found, wanted = encoder(waveforms[:2]), whole(waveforms[:2])
    assert offset(found.hidden_states[-1], wanted.hidden_states[-1]) < 1e-6


@pytest.mark.parametrize("context", CONTEXTS)
def test_hidden_states_do_not_depend_on_the_batch(context, alone, waveforms, offset):
    encoder = load_encoder(alone, context=context)
    with torch.no_grad():
        output = encoder(waveforms[:3])
        for i, wave in enumerate(waveforms[:3]):
            own = encoder([wave])
            frames = int(own.lengths)
            for found, wanted in zip(output.hidden_states, own.hidden_states, strict=True):
                assert wanted.shape == (1, frames, 32)
                assert offset(found[i, :frames], wanted[0]) < 1e-4


def test_the_front_end_is_the_same_and_the_transformer_sees_the_utterance(alone, waveforms, offset):
    padded, own = (load_encoder(alone, context=context) for context in CONTEXTS)
    samples = torch.tensor([len(waveforms[0])])
    with torch.no_grad():
        rows, frames = own.front_end(waveforms[0][None], samples)
        wanted, _ = padded.front_end(waveforms[0][None], samples)
        assert rows.shape[1] == int(frames) < wanted.shape[1] == 320
        assert offset(rows, wanted[:, : int(frames)]) < 1e-5
        states = [encoder([waveforms[0]]).hidden_states for encoder in (padded, own)]
    assert offset(states[0][0], states[1][0]) < 1e-5
    assert offset(states[0][-1], states[1][-1]) > 0.01


def test_the_context_is_part_of_the_identity_and_kept(alone, tmp_path):
    padded, own = (load_encoder(alone, context=context) for context in CONTEXTS)
    assert padded.fingerprint() == own.fingerprint()
    assert padded.content_id() != own.content_id()
    padded.save(tmp_path / "padded")
    own.save(tmp_path / "own")
    assert load_encoder(tmp_path / "own").context == "utterance"
    assert encoder_id(str(tmp_path / "own")) != encoder_id(str(tmp_path / "padded"))


def test_no_other_encoder_has_a_context_and_no_other_context_is_known(alone, tmp_path):
    build_encoder(config_of("hubert"), seed=0).save(tmp_path / "hubert")
    with pytest.raises(SettingsError, match="no context to choose"):
        load_encoder(tmp_path / "hubert", context="utterance")
    folder = load_encoder(alone).save(tmp_path / "strange")
    (folder / "preprocessor_config.json").write_text(json.dumps({"context": "60s"}))
    with pytest.raises(CheckpointError, match=r"context is not known[\s\S]*60s"):
        load_encoder(folder)


def test_a_merge_takes_the_context_of_what_was_tuned_and_refuses_two(alone, tmp_path):
    own = nudged(alone, tmp_path / "own", "utterance")
    padded = nudged(alone, tmp_path / "padded", "30s")
    unsaid = nudged(alone, tmp_path / "unsaid", None)
    out = merge(MergeSettings(base=str(alone), tuned=(str(own),), out=tmp_path / "m", alpha="0.25"))
    assert preprocessor(out)["context"] == "utterance"
    card = (out / "README.md").read_text()
    assert "context `utterance`" in card
    assert "import WhisperEncoder" in card
    assert load_merged(alone, own, 0.25).context == "utterance"
    assert load_merged(alone, unsaid, 0.25).preprocessor.get("context") is None
    for base, tuned in ((alone, (own, padded)), (own, (unsaid,)), (own, (padded,))):
        names = {"base": str(base), "tuned": tuple(map(str, tuned))}
        with pytest.raises(IncompatibleModelsError, match="two contexts"):
            merge(MergeSettings(**names, out=tmp_path / "n", alpha="0.25"))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_batch_counts_what_padding_costs(context, alone, tmp_path):
    chosen = finetune_fixture.settings(
        alone, tmp_path / "out", steps=2, seconds=14, context=context
    )
    finetune(chosen)
    assert preprocessor(tmp_path / "out/encoder")["context"] == context
    encoder = load_encoder(alone, context=context)
    assert encoder.costs([1.0, 2.0]) == ([6.4, 6.4] if context == "30s" else [1.0, 2.0])
    second = SimpleNamespace(supervisions=[], duration=1.0)
    data = TaskData(SimpleNamespace(), [second] * 20, [])
    batches = task_order(chosen, encoder, data, seed=0).epoch(0)
    assert max(map(len, batches)) == (2 if context == "30s" else 14)


def test_one_call_has_one_context(alone, tmp_path):
    table = evaluate_fixture.write_tones(tmp_path / "data")
    own = nudged(alone, tmp_path / "own", "utterance")
    both = {"encoders": (["theta0", str(alone)], ["tuned", str(own)])}
    with pytest.raises(SettingsError, match=r"two[\s\S]*theta0: 30s, tuned: utterance"):
        evaluate(evaluate_fixture.evaluation(tmp_path, tmp_path / "e", **both))
    chosen = evaluate_fixture.evaluation(tmp_path, tmp_path / "e", **both, context="utterance")
    evaluate(chosen)
    looked = {"base": str(alone), "encoders": [str(own)], "data": str(table), "utterances": 3}
    with pytest.raises(SettingsError, match="one context"):
        analyze(AnalyzeSettings(**looked, out=tmp_path / "a"))
    analyze(AnalyzeSettings(**looked, out=tmp_path / "a", context="utterance"))


def test_embed_says_which_context(alone, tmp_path):
    evaluate_fixture.write_tones(tmp_path / "data")
    found = []
    for context in CONTEXTS:
        out = tmp_path / f"{context}.npy"
        audio = tmp_path / "data/train-0.wav"
        embed(EmbedSettings(encoder=str(alone), audio=audio, out=out, context=context))
        found.append(out.read_bytes())
    assert len(found[0]) == len(found[1])
    assert found[0] != found[1]
