import numpy as np
import pytest
import torch

from speechft.core.errors import SettingsError
from speechft.training.pretrain.masked_prediction import (
    MaskedPrediction,
    UnitPredictor,
    unit_loss,
    unit_targets,
)
from speechft.training.pretrain.objective import sample_spans
from speechft.training.pretrain.units import (
    hidden_features,
    learn_units,
    load_units,
    mfcc_features,
    save_units,
)


def tones(count=12, seconds=1.0):
    """Utterances that go from one tone to another half way."""
    time = torch.arange(int(16000 * seconds)) / 16000
    generator = torch.Generator().manual_seed(3)
    result = []
    for index in range(count):
        low, high = 200 + 10 * index, 2000 + 50 * index
        pitch = torch.where(time < seconds / 2, torch.tensor(low), torch.tensor(high))
        noise = torch.randn(len(time), generator=generator) / 100
        result.append(0.3 * torch.sin(2 * torch.pi * pitch * time) + noise)
    return result


def test_mfccs_have_one_frame_per_encoder_frame(tiny_encoder):
    featurise = mfcc_features()
    for samples in (400, 719, 720, 5000, 16000, 16321):
        frames = int(tiny_encoder.frame_lengths(torch.tensor([samples]))[0])
        assert featurise([torch.randn(samples)])[0].shape == (frames, 39)


def test_units_follow_the_sound_and_repeat_for_a_seed():
    waveforms = tones()
    arguments = ([1.0] * 12, mfcc_features(), 4, 0)
    units = learn_units(lambda chosen: [waveforms[i] for i in chosen], *arguments)
    again = learn_units(lambda chosen: [waveforms[i] for i in chosen], *arguments)
    assert all(np.array_equal(a, b) for a, b in zip(units, again, strict=True))
    for sequence in units:
        first = np.bincount(sequence[2:22], minlength=4).argmax()
        second = np.bincount(sequence[28:], minlength=4).argmax()
        assert first != second


def test_more_units_than_frames_are_refused():
    waveforms = tones()
    with pytest.raises(SettingsError, match=r"100000 units cannot be found in \d+ frames"):
        learn_units(
            lambda chosen: [waveforms[i] for i in chosen],
            [1.0] * 12,
            mfcc_features(),
            100_000,
            0,
        )


def test_units_of_a_hidden_layer_do_not_depend_on_the_batch(tiny_encoder):
    waveforms = [w[: 16000 - 1000 * i] for i, w in enumerate(tones())]
    durations = [len(w) / 16000 for w in waveforms]

    def load(chosen):
        return [waveforms[i] for i in chosen]

    featurise = hidden_features(tiny_encoder, 1)
    alone = learn_units(load, durations, featurise, 5, 0, batch=1)
    together = learn_units(load, durations, featurise, 5, 0, batch=12)
    same = np.concatenate(alone) == np.concatenate(together)
    assert same.mean() > 0.99  # k-means may settle a tie the other way


def test_a_layer_that_is_not_there_is_refused(tiny_encoder):
    with pytest.raises(SettingsError, match="no layer 7"):
        hidden_features(tiny_encoder, 7)


def test_units_survive_the_disk(tmp_path):
    units = [np.array([1, 2, 3], np.int16), np.array([9], np.int16)]
    save_units(tmp_path / "u.npz", units)
    assert [u.tolist() for u in load_units(tmp_path / "u.npz")] == [[1, 2, 3], [9]]


def test_spans_cover_about_the_share_and_never_the_padding():
    generator = torch.Generator().manual_seed(0)
    lengths = [100, 60, 7] * 20
    mask = sample_spans(lengths, share=0.8, span=10, generator=generator)
    for row, length in zip(mask, lengths, strict=True):
        assert not row[length:].any()
        assert row[:length].any()
    covered = torch.cat([r[:n] for r, n in zip(mask, lengths, strict=True)]).float().mean()
    assert 0.4 < covered < 0.7  # overlaps take the 0.8 down to about 1 - exp(-0.8)


def build(encoder, weight=0.5):
    waveforms = tones(4)
    units = [np.repeat(np.arange(7, dtype=np.int16), 7) for _ in waveforms]
    torch.manual_seed(0)
    predictor = UnitPredictor(encoder.hidden_size, 8, projection=8)
    return MaskedPrediction(encoder, predictor, units, unmasked_weight=weight), waveforms


def test_pretraining_trains_front_end_mask_embedding_and_predictor(tiny_encoder):
    objective, waveforms = build(tiny_encoder)
    objective.before_update(1)
    loss, figures = objective.loss([0, 1, 2, 3], waveforms)
    loss.backward()
    without = [n for n, p in objective.module.named_parameters() if p.grad is None]
    assert without == []
    assert set(figures) == {"masked_loss", "masked_accuracy"}


def test_a_few_updates_lower_the_loss(tiny_encoder):
    objective, waveforms = build(tiny_encoder)
    optimizer = torch.optim.Adam(objective.module.parameters(), lr=3e-3)
    losses = []
    for update in range(30):
        torch.manual_seed(update)
        objective.before_update(update)
        loss, _ = objective.loss([0, 1, 2, 3], waveforms)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_dev_figures_repeat(tiny_encoder):
    objective, waveforms = build(tiny_encoder)
    objective.dev = lambda: [([0, 1], waveforms[:2]), ([2, 3], waveforms[2:])]
    assert objective.evaluate() == objective.evaluate()


def test_cosines_stay_float32_in_half_precision_training():
    torch.manual_seed(0)
    head = UnitPredictor(8, 6)
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(torch.randn(4, 8))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


class Oracle(torch.nn.Module):
    """Names the unit that stands in each frame's first place."""

    def forward(self, frames):
        return 50.0 * torch.nn.functional.one_hot(frames[:, 0].long(), 4).float()


def test_the_loss_is_that_of_masked_frames():
    lengths = torch.tensor([5, 3])
    targets = torch.tensor([[0, 1, 2, 3, 0], [1, 1, 2, 0, 0]])
    mask = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]], dtype=torch.bool)
    said = torch.where(mask, targets, (targets + 1) % 4)  # right where masked, wrong elsewhere
    frames = said[..., None].float()
    loss, figures = unit_loss(Oracle(), frames, lengths, mask, targets, 0.0)
    assert float(loss) < 1e-6
    assert figures["masked_accuracy"] == 100.0
    assert float(unit_loss(Oracle(), frames, lengths, mask, targets, 0.5)[0]) == pytest.approx(25.0)
    wrong = torch.where(mask, (targets + 1) % 4, targets)[..., None].float()
    loss, figures = unit_loss(Oracle(), wrong, lengths, mask, targets, 0.0)
    assert float(loss) == pytest.approx(50.0)
    assert figures["masked_accuracy"] == 0.0


def test_targets_are_those_of_the_utterance():
    units = [np.array(u, np.int16) for u in ([1, 2, 3], [4, 5, 6, 7], [8, 9])]
    assert unit_targets(units, [2, 0], 3).tolist() == [[8, 9, 9], [1, 2, 3]]
    assert unit_targets({5: units[1]}, [5], 4).tolist() == [[4, 5, 6, 7]]


def test_units_come_from_the_layer_that_was_named(tiny_encoder):
    waveforms = [w[: 9000 - 2000 * i] for i, w in enumerate(tones(2))]
    with torch.no_grad():
        wanted = tiny_encoder.eval()(waveforms)
    for layer in range(tiny_encoder.num_layers + 1):
        found = hidden_features(tiny_encoder, layer)(waveforms)
        for row, features in enumerate(found):
            states = wanted.hidden_states[layer][row, : wanted.lengths[row]]
            torch.testing.assert_close(features, states, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(wanted.hidden_states[0], wanted.hidden_states[1], atol=1e-2)
