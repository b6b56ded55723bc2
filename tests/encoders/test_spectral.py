"""w2v-BERT 2.0 and Whisper's encoder."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import (
    AutoModel,
    SeamlessM4TFeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from speechft.core.errors import DataError, SettingsError
from speechft.encoders import build_encoder, load_encoder

TOLERANCE = 1e-4
CONFORMER = {
    "model_type": "wav2vec2-bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "output_hidden_size": 32,
}
WHISPER = {
    "model_type": "whisper",
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_source_positions": 100,
    "vocab_size": 50,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 0,
}
KINDS = {
    "relative_key": CONFORMER,
    "rotary": {**CONFORMER, "position_embeddings_type": "rotary"},
    "relative": {**CONFORMER, "position_embeddings_type": "relative"},
    "whisper": WHISPER,
}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_do_not_depend_on_the_batch(kind, waveforms, offset):
    encoder = build_encoder(KINDS[kind], seed=0)
    waveforms = waveforms[:3]
    with torch.no_grad():
        output = encoder(waveforms)
        for i, wave in enumerate(waveforms):
            alone = encoder([wave])
            frames = int(output.lengths[i])
            assert alone.lengths.tolist() == [frames]
            assert len(alone.hidden_states) == encoder.num_layers + 1 == 3
            for found, wanted in zip(output.hidden_states, alone.hidden_states, strict=True):
                assert wanted.shape == (1, frames, 32)
                assert offset(found[i, :frames], wanted[0]) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading(kind, tmp_path, waveforms, offset):
    encoder = build_encoder(KINDS[kind], seed=0)
    encoder.save(tmp_path / "e")
    again = load_encoder(tmp_path / "e")
    assert again.fingerprint() == encoder.fingerprint()
    with torch.no_grad():
        found = again(waveforms[:2]).hidden_states[-1]
        assert offset(found, encoder(waveforms[:2]).hidden_states[-1]) < TOLERANCE
    plain = AutoModel.from_pretrained(tmp_path / "e")
    assert plain.state_dict().keys() == encoder.model.state_dict().keys()


def test_conformer_against_plain_transformers(waveforms, offset):
    encoder = build_encoder(CONFORMER, seed=0)
    extractor = SeamlessM4TFeatureExtractor(**encoder.preprocessor)
    inputs = extractor(waveforms[0].numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        theirs = encoder.model(**inputs, output_hidden_states=True)
        ours = encoder([waveforms[0]])
    assert ours.lengths.tolist() == [int(inputs["attention_mask"].sum())]
    for found, wanted in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert offset(found, wanted[:, : found.shape[1]]) < TOLERANCE
    assert encoder.hop == 320
    assert encoder.front_end_parameters() == {}


def test_whisper_against_plain_transformers(tmp_path, waveforms, offset):
    torch.manual_seed(0)
    values = {k: v for k, v in WHISPER.items() if k != "model_type"}
    model = WhisperForConditionalGeneration(WhisperConfig(**values)).eval()
    model.save_pretrained(tmp_path / "w")
    encoder = load_encoder(tmp_path / "w")
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    wave = waveforms[1]
    inputs = extractor(wave.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        theirs = model.model.encoder(**inputs, output_hidden_states=True)
        ours = encoder([wave])
    assert ours.lengths.tolist() == [-(-len(wave) // 320)]
    wanted = [*theirs.hidden_states[:-1], theirs.last_hidden_state]
    for found, state in zip(ours.hidden_states, wanted, strict=True):
        assert offset(found, state[:, : found.shape[1]]) < TOLERANCE
    assert set(encoder.front_end_parameters()) == {
        f"encoder.conv{i}.{p}" for i in (1, 2) for p in ("weight", "bias")
    }
    assert not any("decoder" in name for name in encoder.encoder_parameters())
    assert encoder.num_layers == 2


def test_gradients_reach_the_encoder(waveforms):
    for config in (CONFORMER, WHISPER):
        encoder = build_encoder(config, seed=0)
        encoder(waveforms[:2]).hidden_states[-1].square().mean().backward()
        trained = {**encoder.encoder_parameters(), **encoder.front_end_parameters()}
        without = [n for n, p in trained.items() if p.requires_grad and p.grad is None]
        assert without in ([], ["masked_spec_embed"])


def test_whisper_refuses_long_utterances_and_masking(waveforms):
    encoder = build_encoder(WHISPER, seed=0)
    with pytest.raises(DataError, match="longer than Whisper"):
        encoder([torch.zeros(320 * 100 + 1)])
    features, frames = encoder.front_end(waveforms[0][None], torch.tensor([16000]))
    with pytest.raises(SettingsError, match="no mask embedding"):
        encoder.from_front_end(features, frames, mask_time=torch.ones(1, 100, dtype=torch.bool))


@pytest.mark.parametrize("given", [CONFORMER, WHISPER], ids=["conformer", "whisper"])
def test_a_checkpoint_with_layer_drop_loses_no_layer_in_training(given, tmp_path):
    build_encoder(given, seed=0).save(tmp_path / "encoder")
    file = tmp_path / "encoder" / "config.json"
    content = json.loads(file.read_text())
    names = [name for name in content if name.endswith("layerdrop")]
    assert names
    file.write_text(json.dumps(content | dict.fromkeys(names, 0.9)))
    encoder = load_encoder(tmp_path / "encoder").train()
    assert {getattr(encoder.config, name) for name in names} == {0.0}
    states = {len(encoder([torch.randn(8000)]).hidden_states) for _ in range(5)}
    assert states == {encoder.num_layers + 1}
