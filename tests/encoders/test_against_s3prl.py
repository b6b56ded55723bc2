"""Hidden states against those that S3PRL 0.4.18 gives, for seven tiny encoders."""

from __future__ import annotations

import pytest
import torch

from speechft.encoders import load_encoder
from speechft.encoders.formats.write import write_checkpoint
from speechft.encoders.load import read_checkpoint

TOLERANCE = 1e-4


def test_against_s3prl(reference, worst_offset):
    assert worst_offset(load_encoder(reference.path), reference) < TOLERANCE


@pytest.mark.parametrize("fault", ["weight", "normalisation", "bias"])
def test_the_comparison_can_fail(reference, worst_offset, fault):
    """Control: a small change of one weight, of the normalisation or of a bias is seen."""
    encoder = load_encoder(reference.path)
    layer = encoder.model.encoder.layers[2]
    with torch.no_grad():
        if fault == "weight":
            layer.feed_forward.output_dense.weight[0] += 0.01
        elif fault == "bias":
            layer.attention.v_proj.bias[0] += 0.01
        elif encoder.family == "decoar2":
            encoder.model.post_extract_proj.weight *= 1.001
        elif encoder.normalize:
            encoder.preprocessor["do_normalize"] = False
        else:
            encoder.model.feature_extractor.conv_layers[0].layer_norm.eps = 1e-3
    assert worst_offset(encoder, reference) > TOLERANCE


def test_what_s3prl_gives_in_a_batch_is_seen_as_wrong(reference, offset):
    """Control: S3PRL's own features of padded utterances do not pass where group norm is used."""
    frames = reference.hidden[2].shape[1]
    error = offset(reference.in_batch[-1, 2, :frames], reference.hidden[2][-1])
    group_norm = reference.path.stem in ("hubert-tiny", "wav2vec2-tiny", "wavlm-tiny")
    assert error > (0.1 if group_norm else 0.0)


@pytest.mark.parametrize("to", ["s3prl", "fairseq"])
def test_there_and_back_again(reference, worst_offset, tmp_path, to):
    """File → Hugging Face → S3PRL or fairseq → Hugging Face keeps every tensor bit for bit."""
    first = read_checkpoint(reference.path)
    write_checkpoint(first, tmp_path / "one", "hf")
    write_checkpoint(read_checkpoint(tmp_path / "one"), tmp_path / "two.pt", to)
    write_checkpoint(read_checkpoint(tmp_path / "two.pt"), tmp_path / "three", "hf")
    last = read_checkpoint(tmp_path / "three")
    assert last.tensors.keys() == first.tensors.keys()
    assert all(torch.equal(last.tensors[name], first.tensors[name]) for name in first.tensors)
    assert last.side.tensors.keys() == first.side.tensors.keys()
    assert all(torch.equal(last.side.tensors[n], t) for n, t in first.side.tensors.items())
    assert last.preprocessor == first.preprocessor
    assert worst_offset(load_encoder(tmp_path / "three"), reference) < TOLERANCE
    assert worst_offset(load_encoder(tmp_path / "two.pt"), reference) < TOLERANCE


def test_the_s3prl_file_comes_back_as_it_was(reference, tmp_path):
    """Same keys, same settings, same tensors as in the file that S3PRL reads."""
    write_checkpoint(read_checkpoint(reference.path), tmp_path / "back.pt", "s3prl")
    before = torch.load(reference.path, weights_only=True)
    after = torch.load(tmp_path / "back.pt", weights_only=True)
    weights = "model_weight" if "model_weight" in before else "model"
    assert after[weights].keys() == before[weights].keys()
    assert all(torch.equal(after[weights][n], t) for n, t in before[weights].items())
    for name in set(before) - {weights}:
        if isinstance(before[name], dict):
            wanted = {k: list(v) if isinstance(v, tuple) else v for k, v in before[name].items()}
            assert {k: after[name].get(k) for k in wanted} == wanted, name
        else:
            assert after[name] == before[name], name


def test_saved_folders_load_in_plain_transformers(reference, tmp_path, offset):
    from transformers import AutoModel

    load_encoder(reference.path).save(tmp_path / "hf")
    model = AutoModel.from_pretrained(tmp_path / "hf").eval()
    wave = reference.waveforms[0]
    if load_encoder(tmp_path / "hf").preprocessor["do_normalize"]:
        wave = (wave - wave.mean()) / torch.sqrt(wave.var(unbiased=False) + 1e-5)
    with torch.no_grad():
        found = model(wave[None]).last_hidden_state[0]
    assert offset(found, reference.hidden[0][-1]) < TOLERANCE
