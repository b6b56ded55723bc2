"""The objectives of wav2vec 2.0 and DeCoAR 2.0: they learn, see nothing masked, use their codes."""

import math

import pytest
import torch
from pretrain_fixture import DECOAR

from speechft.core.errors import SettingsError
from speechft.encoders import build_encoder
from speechft.training.pretrain.contrastive import Contrastive, ContrastiveHead, contrastive_logits
from speechft.training.pretrain.objective import sample_mask
from speechft.training.pretrain.quantiser import GumbelQuantiser, perplexity, temperature_at
from speechft.training.pretrain.reconstruction import Reconstruction, ReconstructionHead

BOOKS = {"groups": 2, "entries": 12, "width": 16}


def syllables(count=6, parts=8):
    """Utterances of buzzes that come in a fixed order, from a random one on: context tells them."""
    generator = torch.Generator().manual_seed(1)
    time = torch.arange(2400) / 16000
    pitches = [300 * 1.35**i for i in range(6)]
    result = []
    for _ in range(count):
        first = int(torch.randint(6, (), generator=generator))
        tones = [(time * pitches[(first + i) % 6] % 1) - 0.5 for i in range(parts)]
        wave = (1 + first) / 10 * torch.cat(tones)
        result.append(wave + torch.randn(len(wave), generator=generator) / 1000)
    return result


def contrastive(config, **more):
    encoder = build_encoder({**config, "model_type": "wav2vec2"}, seed=0)
    torch.manual_seed(0)
    head = ContrastiveHead(encoder.hidden_size, config["conv_dim"][-1], **BOOKS)
    return Contrastive(encoder, head, **{"steps": 40, "negatives": 20, **more})


def reconstruction(_config=None, feature_penalty=0.0, **more):
    del feature_penalty  # of the other objective
    encoder = build_encoder(DECOAR, seed=0)
    torch.manual_seed(0)
    head = ReconstructionHead(encoder.hidden_size, **BOOKS)
    return Reconstruction(encoder, head, **{"steps": 40, "span": 4, **more})


BOTH = pytest.mark.parametrize("build", [contrastive, reconstruction])


def losses(objective, updates, rate=3e-3):
    waveforms = syllables()
    optimizer = torch.optim.Adam(objective.module.parameters(), lr=rate)
    result = []
    for update in range(1, updates + 1):
        torch.manual_seed(update)
        objective.before_update(update)
        loss, figures = objective.loss(range(len(waveforms)), waveforms)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        result.append(figures)
    return result


def mean(figures, name):
    return sum(f[name] for f in figures) / len(figures)


@pytest.mark.parametrize(
    ("build", "name", "updates", "ratio"),
    [(contrastive, "contrastive_loss", 40, 0.95), (reconstruction, "masked_error", 90, 0.8)],
)
def test_the_loss_falls_and_more_than_one_code_is_used(tiny_config, build, name, updates, ratio):
    objective = build(tiny_config, steps=updates)
    figures = losses(objective, updates)
    assert mean(figures[-8:], name) < ratio * mean(figures[:8], name)
    objective.dev = lambda: [([0, 1], syllables(2))]
    dev = objective.evaluate()
    assert dev["codes"] > BOOKS["groups"]
    assert 1 < dev["code_perplexity"] <= BOOKS["entries"]
    assert dev == objective.evaluate()


@BOTH
def test_every_parameter_learns(tiny_config, build):
    objective = build(tiny_config)
    objective.before_update(1)
    objective.loss([0, 1], syllables(2))[0].backward()
    without = [n for n, p in objective.module.named_parameters() if p.grad is None]
    assert without == []


def last_states(objective, features, lengths, mask, monkeypatch):
    """Give what the transformer makes of features under a mask, and figures."""
    kept = []
    real = objective.encoder.transform

    def transform(hidden, frame_lengths, mask_time):
        output = real(hidden, frame_lengths, mask_time)
        kept.append(output.hidden_states[-1])
        return output

    monkeypatch.setattr(objective.encoder, "transform", transform)
    objective.module.eval()
    torch.manual_seed(5)
    _, _, figures = objective.measure(features, lengths, mask, None)
    monkeypatch.undo()
    return kept[0], figures


@BOTH
def test_the_last_layer_learns_on_unmasked_frames_only_if_asked(tiny_config, build):
    def gradient(weight):
        objective = build(tiny_config, unmasked_weight=weight, feature_penalty=0.0)
        objective.before_update(1)
        kept = []
        real = objective.encoder.transform

        def transform(hidden, lengths, mask_time):
            output = real(hidden, lengths, mask_time)
            output.hidden_states[-1].retain_grad()
            kept.append(output.hidden_states[-1])
            return output

        objective.encoder.transform = transform
        torch.manual_seed(5)
        objective.loss([0], syllables(1))[0].backward()
        return (kept[0].grad.abs().sum(dim=-1) > 0).float().mean()

    assert gradient(0.0) < 0.9
    assert gradient(0.5) == 1


@BOTH
def test_what_is_masked_does_not_leak(tiny_config, build, monkeypatch):
    """Features of masked frames change the targets, never what the transformer makes of them."""

    objective = build(tiny_config)
    wave = syllables(1)
    lengths = torch.tensor([len(wave[0])])
    with torch.no_grad():
        features, frames = objective.encoder.front_end(wave[0][None], lengths)
        torch.manual_seed(5)
        mask = sample_mask(frames, objective.share, objective.span)
        noise = torch.randn_like(features) * features.std()
        hidden = torch.where(mask[..., None], noise, features)
        shown = torch.where(mask[..., None], features, noise)
        before, first = last_states(objective, features, frames, mask, monkeypatch)
        after, second = last_states(objective, hidden, frames, mask, monkeypatch)
        control, _ = last_states(objective, shown, frames, mask, monkeypatch)
    assert torch.equal(before, after)
    assert first != second  # the targets did change
    assert not torch.allclose(before, control, atol=1e-3)  # what is not masked does count


def test_a_quantiser_samples_in_training_and_takes_the_likeliest_otherwise():
    torch.manual_seed(0)
    quantiser = GumbelQuantiser(8, 2, 5, 6, spread=0.1)
    frames = torch.randn(200, 8)
    quantiser.eval()
    sure = quantiser(frames)
    assert torch.equal(sure.codes, quantiser(frames).codes)
    assert sure.values.shape == (200, 6)
    assert sure.codes.shape == (200, 2)
    assert sure.usage.sum(dim=1).tolist() == [200, 200]
    book = quantiser.vars.view(2, 5, 3)
    expected = torch.cat([book[0, sure.codes[:, 0]], book[1, sure.codes[:, 1]]], dim=1)
    torch.testing.assert_close(sure.values, expected)
    quantiser.train()
    sampled = quantiser(frames)
    assert not torch.equal(sampled.codes, sure.codes)
    sampled.values.sum().backward()
    assert float(quantiser.weight_proj.weight.grad.abs().sum()) > 0


def test_diversity_is_small_where_all_entries_are_as_likely():
    quantiser = GumbelQuantiser(4, 2, 10, 4)
    with torch.no_grad():
        quantiser.weight_proj.weight.zero_()
        assert float(quantiser(torch.randn(20, 4)).diversity) == pytest.approx(0, abs=1e-5)
        quantiser.weight_proj.bias[::10] = 50.0  # the first entry of each codebook takes all
        collapsed = quantiser(torch.randn(20, 4))
    assert float(collapsed.diversity) == pytest.approx(0.9, abs=1e-3)
    assert (collapsed.usage > 0).sum() == 2


def test_a_collapsed_codebook_has_a_finite_gradient():
    """Probabilities that underflow to 0 made the diversity loss's gradient NaN."""
    quantiser = GumbelQuantiser(4, 2, 10, 4)
    with torch.no_grad():
        quantiser.weight_proj.bias[::10] = 500.0
    quantised = quantiser(torch.randn(20, 4))
    (quantised.diversity + quantised.values.sum()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in quantiser.parameters())


def test_perplexity_counts_what_is_used():
    shares = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
    assert perplexity(shares).tolist() == pytest.approx([4, 1])


def test_the_temperature_falls_then_stays():
    values = [temperature_at(u, 100, (2.0, 0.5)) for u in (1, 36, 71, 100)]
    assert values == pytest.approx([2.0, 1.0, 0.5, 0.5])


def test_negatives_are_other_frames_of_the_same_utterance():
    """With targets that name their frame, logits show which frames were drawn."""
    torch.manual_seed(0)
    counts = torch.tensor([4, 1, 7])
    targets = torch.eye(12)
    codes = torch.arange(12)[:, None]
    context = torch.arange(12.0)[None, :].repeat(12, 1) + 1  # cosine with frame i grows with i
    logits = contrastive_logits(context, targets, codes, counts, 60, 1.0)
    cosines = (context[0] / context[0].norm()).tolist()
    groups = [range(4), range(4, 5), range(5, 12)]
    for frame in range(12):
        own = next(g for g in groups if frame in g)
        assert float(logits[frame, 0]) == pytest.approx(cosines[frame], abs=1e-5)
        drawn = {round(x, 4) for x in logits[frame, 1:].tolist() if x > -math.inf}
        assert drawn == {round(cosines[i], 4) for i in own if i != frame}


def test_contrasts_stay_float32_in_half_precision_training():
    context, targets = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    given = torch.arange(6)[:, None], torch.tensor([6]), 3, 0.1
    torch.manual_seed(0)
    wanted = contrastive_logits(context, targets, *given)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = contrastive_logits(context, targets, *given)
    torch.testing.assert_close(found, wanted)


def test_negatives_with_the_same_code_are_left_out():
    codes = torch.tensor([[0, 1], [0, 1], [0, 2]])
    logits = contrastive_logits(torch.eye(3), torch.eye(3), codes, torch.tensor([3]), 50, 0.1)
    left_out = (logits[:, 1:] == -math.inf).float().mean(dim=1)
    assert 0.2 < float(left_out[0]) < 0.8  # frame 1, not frame 2
    assert float(left_out[2]) == 0


def test_the_gradient_of_the_front_end_is_scaled(tiny_config):
    def front_end_gradient(factor):
        objective = contrastive(tiny_config, front_end_gradient=factor, feature_penalty=0.0)
        objective.module.eval()  # no chance but the masks
        torch.manual_seed(0)
        objective.loss([0], syllables(1))[0].backward()
        return objective.encoder.model.feature_extractor.conv_layers[0].conv.weight.grad

    torch.testing.assert_close(front_end_gradient(0.1), 0.1 * front_end_gradient(1.0))


def test_families_that_an_objective_cannot_train(tiny_config):
    decoar, hubert = build_encoder(DECOAR, seed=0), build_encoder(tiny_config, seed=0)
    with pytest.raises(SettingsError, match="decoar2"):
        Contrastive(decoar, ContrastiveHead(32, 80), steps=1)
    with pytest.raises(SettingsError, match="hubert"):
        Reconstruction(hubert, ReconstructionHead(32), steps=1)
