from __future__ import annotations

import pytest
import torch

from speechft.core.errors import DataError, SettingsError
from speechft.core.lengths import conv_length, pad_waveforms
from speechft.encoders import build_encoder

TOLERANCE = 1e-4


def with_statistics(encoder):
    """Give the encoder batch-norm statistics that are not those of an untrained one."""
    for name, buffer in encoder.model.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer)
    for name, parameter in encoder.model.named_parameters():
        if parameter.dim() == 1 or "rel_attn_embed" in name:
            torch.nn.init.normal_(parameter, 0.3, 0.5)
    return encoder


def states_alone(encoder, waveforms):
    with torch.no_grad():
        return [encoder([w]).hidden_states for w in waveforms]


def worst(offset, output, alone):
    return max(
        offset(state[i, : int(output.lengths[i])], wanted[0])
        for i, states in enumerate(alone)
        for state, wanted in zip(output.hidden_states, states, strict=True)
        if wanted.shape[1] > 1
    )


def test_hidden_states_do_not_depend_on_the_batch(config, waveforms, offset):
    encoder = with_statistics(build_encoder(config, seed=1))
    with torch.no_grad():
        output = encoder(waveforms)
    alone = states_alone(encoder, waveforms)
    kernels, strides = encoder.config.conv_kernel, encoder.config.conv_stride
    assert output.lengths.tolist() == [conv_length(len(w), kernels, strides) for w in waveforms]
    assert [s[0].shape[1] for s in alone] == output.lengths.tolist()
    assert len(output.hidden_states) == encoder.num_layers + 1
    assert worst(offset, output, alone) < TOLERANCE


def test_padding_is_seen_by_plain_transformers(tiny_config, waveforms, offset):
    """Control: the comparison above finds the error that plain transformers makes."""
    encoder = with_statistics(build_encoder(tiny_config("hubert"), seed=1))
    batch, lengths = pad_waveforms(waveforms)
    mask = (torch.arange(batch.shape[1])[None] < lengths[:, None]).long()
    with torch.no_grad():
        padded = encoder.model(batch, attention_mask=mask, output_hidden_states=True)
        ours = encoder(waveforms)
    padded = ours._replace(hidden_states=padded.hidden_states)
    assert worst(offset, padded, states_alone(encoder, waveforms)) > 0.1


def test_one_utterance_equals_plain_transformers(config, waveforms, offset):
    encoder = with_statistics(build_encoder(config, seed=2))
    wave = waveforms[0]
    [states] = states_alone(encoder, [wave])
    if encoder.normalize:
        wave = (wave - wave.mean()) / torch.sqrt(wave.var(unbiased=False) + 1e-7)
    with torch.no_grad():
        theirs = encoder.model(wave[None], output_hidden_states=True)
    wanted = [*theirs.hidden_states[:-1], theirs.last_hidden_state]
    assert max(map(offset, states, wanted)) < TOLERANCE


def test_group_norm_survives_offsets_and_faint_signals(tiny_config, waveforms, offset):
    """Statistics from the window covariance are no worse than a pass over the activations.

    Of one encoder that is chance: each is now the nearer one to float64, now the other.
    """
    wave = waveforms[0]
    encoders = [build_encoder(tiny_config("hubert"), seed=seed) for seed in range(4)]
    for hard in (wave * 1e-3 + 0.5, wave * 1e-5, wave * 30):
        ours = plain = 0.0
        for encoder in encoders:
            [states] = states_alone(encoder, [hard])
            with torch.no_grad():
                theirs = encoder.model(hard[None]).last_hidden_state
                exact = encoder.model.double()(hard[None].double()).last_hidden_state.float()
            encoder.model.float()
            ours += offset(states[-1], exact)
            plain += offset(theirs, exact)
        assert ours < max(TOLERANCE, plain)


def test_forward_is_the_front_end_and_the_rest(config, waveforms):
    encoder = build_encoder(config, seed=3)
    batch, lengths = pad_waveforms(waveforms)
    with torch.no_grad():
        whole = encoder(waveforms)
        features, frames = encoder.front_end(batch, lengths)
        parts = encoder.from_front_end(features, frames)
    assert features.shape == (4, 49, 32)
    assert frames.tolist() == whole.lengths.tolist()
    assert all(map(torch.equal, whole.hidden_states, parts.hidden_states))


def test_mask_time_replaces_projected_frames(config, waveforms):
    encoder = build_encoder(config, seed=3)
    batch, lengths = pad_waveforms(waveforms)
    with torch.no_grad():
        features, frames = encoder.front_end(batch, lengths)
        mask = torch.zeros(features.shape[:2], dtype=torch.bool)
        nothing = encoder.from_front_end(features, frames, mask_time=mask)
        assert torch.equal(nothing[0][-1], encoder.from_front_end(features, frames)[0][-1])
        mask[0, 10:20] = True
        changed = features.clone()
        changed[0, 10:20] += 7.0
        one = encoder.from_front_end(features, frames, mask_time=mask)
        two = encoder.from_front_end(changed, frames, mask_time=mask)
    assert all(map(torch.equal, one.hidden_states, two.hidden_states))
    assert not torch.equal(one[0][-1][0], nothing[0][-1][0])
    assert torch.equal(one[0][-1][1], nothing[0][-1][1])


def test_gradients_equal_those_of_plain_transformers(config, waveforms, offset):
    encoder = with_statistics(build_encoder(config, seed=4))
    wave = waveforms[0]
    encoder([wave]).hidden_states[-1].square().mean().backward()
    found = {n: p.grad.clone() for n, p in encoder.model.named_parameters() if p.grad is not None}
    encoder.model.zero_grad()
    if encoder.normalize:
        wave = (wave - wave.mean()) / torch.sqrt(wave.var(unbiased=False) + 1e-7)
    encoder.model(wave[None]).last_hidden_state.square().mean().backward()
    wanted = {n: p.grad for n, p in encoder.model.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    assert len(wanted) >= len(list(encoder.model.parameters())) - 1
    scale = max(float(g.abs().max()) for g in wanted.values())
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).abs().max()) < 1e-3 * scale, name


def test_parameters_are_split_into_front_end_and_encoder(config):
    encoder = build_encoder(config, seed=0)
    front, rest = encoder.front_end_parameters(), encoder.encoder_parameters()
    assert front.keys() | rest.keys() == dict(encoder.model.named_parameters()).keys()
    assert not front.keys() & rest.keys()
    assert {name.split(".")[0] for name in front} == {"feature_extractor"}
    assert encoder.hop == 320
    assert encoder.config.layerdrop == 0.0


def test_bf16_autocast_stays_close_and_keeps_the_residual_stream_in_float32(config, waveforms):
    encoder = build_encoder(config, seed=5)
    with torch.no_grad():
        exact = encoder(waveforms)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(waveforms)
    for wanted, found in zip(exact.hidden_states, half.hidden_states, strict=True):
        assert found.dtype == torch.float32
        keep = torch.arange(wanted.shape[1])[None] < exact.lengths[:, None]
        error = (found - wanted)[keep].square().mean().sqrt() / wanted[keep].std()
        assert float(error) < 0.05


def test_too_short_and_empty_batches_are_refused(tiny_config):
    encoder = build_encoder(tiny_config("hubert"), seed=0)
    with pytest.raises(DataError, match="utterance 1 of the batch"):
        encoder([torch.zeros(500), torch.zeros(399)])
    with pytest.raises(DataError, match="no utterance"):
        encoder([])


def test_masking_without_a_mask_embedding_is_refused(tiny_config, waveforms):
    config = {**tiny_config("hubert"), "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    encoder = build_encoder(config, seed=0)
    features, frames = encoder.front_end(*pad_waveforms(waveforms))
    with pytest.raises(SettingsError, match="no mask embedding"):
        encoder.from_front_end(features, frames, mask_time=torch.ones(4, 49, dtype=torch.bool))


def test_building_depends_on_the_seed_alone(tiny_config):
    config = tiny_config("wavlm")
    torch.manual_seed(7)
    one = build_encoder(config, seed=1).fingerprint()
    torch.manual_seed(8)
    assert build_encoder(config, seed=1).fingerprint() == one
    assert build_encoder(config, seed=2).fingerprint() != one


def test_a_configuration_without_a_known_type_is_refused():
    with pytest.raises(SettingsError, match="model_type"):
        build_encoder({"model_type": "no-such-type"}, seed=0)


def test_the_front_end_in_pieces_is_the_front_end_at_once(config, offset):
    """Without gradients the front end runs piece by piece, with them over the whole batch."""
    encoder = with_statistics(build_encoder(config, seed=6))
    generator = torch.Generator().manual_seed(0)
    waveforms = [torch.randn(n, generator=generator) for n in (64 * 320 + 80, 47000, 400, 41555)]
    batch, lengths = pad_waveforms(waveforms)
    whole, frames = encoder.front_end(batch, lengths)
    assert whole.requires_grad
    with torch.no_grad():
        pieces, _ = encoder.front_end(batch, lengths)
    assert frames.tolist() == [64, 146, 1, 129]
    for i, count in enumerate(frames.tolist()):
        assert offset(pieces[i, :count], whole[i, :count].detach()) < TOLERANCE
        assert not pieces[i, count:].any()


def test_a_frozen_front_end_runs_in_pieces_while_the_rest_learns(tiny_config, waveforms):
    encoder = build_encoder(tiny_config("hubert"), seed=6)
    for parameter in encoder.front_end_parameters().values():
        parameter.requires_grad_(False)
    features, _ = encoder.front_end(*pad_waveforms(waveforms))
    assert not features.requires_grad
    encoder(waveforms).hidden_states[-1].sum().backward()
    assert encoder.model.encoder.layers[0].attention.q_proj.weight.grad is not None
