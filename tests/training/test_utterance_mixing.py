"""Utterance mixing as WavLM does it: what is added, how much, where, and the same every time."""

import math

import pytest
import torch

from speechft.training.pretrain.masked_prediction import MaskedPrediction, UnitPredictor
from speechft.training.pretrain.utterance_mixing import mix_utterances


def batch(count=200, seed=0):
    """Noise of several lengths and levels, so that levels do not agree by chance."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [1000 + 37 * (i % 11) for i in range(count)]
    return [
        (0.05 + 0.01 * (i % 7)) * torch.randn(n, generator=generator) for i, n in enumerate(lengths)
    ]


def mix(waveforms, share, seed=1, **more):
    return mix_utterances(waveforms, share, torch.Generator().manual_seed(seed), **more)


def test_about_the_share_is_mixed_and_the_rest_is_untouched():
    waveforms = batch()
    before = [w.clone() for w in waveforms]
    result = mix(waveforms, 0.3)
    changed = [not torch.equal(a, b) for a, b in zip(result, before, strict=True)]
    assert 0.2 < sum(changed) / len(changed) < 0.4
    assert all(torch.equal(w, b) for w, b in zip(waveforms, before, strict=True))
    assert [len(w) for w in result] == [len(w) for w in before]
    assert all(r is w for r, w, c in zip(result, waveforms, changed, strict=True) if not c)


def test_nothing_and_everything():
    waveforms = batch(20)
    assert all(r is w for r, w in zip(mix(waveforms, 0.0), waveforms, strict=True))
    assert not any(torch.equal(r, w) for r, w in zip(mix(waveforms, 1.0), waveforms, strict=True))


@pytest.mark.parametrize(("noise_share", "low", "high"), [(0.0, -5, 5), (1.0, -5, 20)])
def test_less_than_half_is_covered_at_a_ratio_within_bounds(noise_share, low, high):
    """Utterances of ±1 times a level: what is added tells its level exactly."""
    generator = torch.Generator().manual_seed(5)
    signs = [torch.randint(0, 2, (900 + 50 * i,), generator=generator) * 2.0 - 1 for i in range(30)]
    waveforms = [(0.1 + 0.02 * i) * s for i, s in enumerate(signs)]
    ratios, starts = [], []
    for seed in range(20):
        mixed = mix(waveforms, 1.0, seed, noise_share=noise_share)
        for main, result in zip(waveforms, mixed, strict=True):
            added = result - main
            covered = added.abs().gt(1e-7).nonzero().flatten()
            assert 0 < len(covered) < len(main) / 2
            if not noise_share:
                assert int(covered[-1] - covered[0]) + 1 == len(covered)
                power = added[covered].square().mean() / main.square().mean()
                ratios.append(-10 * math.log10(float(power)))
            starts.append(float(covered[0]) / len(main))
    assert min(starts) < 0.1
    assert max(starts) > 0.8
    if ratios:
        assert low - 0.01 < min(ratios) < low + 0.5
        assert high - 0.5 < max(ratios) < high + 0.01


def test_what_is_added_is_a_part_of_another_utterance():
    ramps = [torch.linspace(1, 2, 500), -torch.linspace(1, 2, 700)]
    for seed in range(10):
        for index, result in enumerate(mix(ramps, 1.0, seed, noise_share=0.0)):
            added = result - ramps[index]
            sign = 1 if index else -1  # the other one's
            assert bool((sign * added >= 0).all())
            assert bool(added.any())


def test_noise_is_of_many_colours_and_not_speech():
    silent_but_one = [torch.ones(4000)]
    slopes = []
    for seed in range(12):
        added = mix(silent_but_one, 1.0, seed)[0] - silent_but_one[0]
        part = added[added != 0]
        if len(part) > 400:
            slopes.append(float(part.diff().square().mean() / part.square().mean()))
    assert max(slopes) > 1.2  # white: 2
    assert min(slopes) < 0.3  # brown: near 0


def test_same_state_same_mixtures_another_state_others():
    waveforms = batch(16)
    first, again, other = mix(waveforms, 0.5), mix(waveforms, 0.5), mix(waveforms, 0.5, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("waveforms", [[], [torch.ones(1)], [torch.ones(2), torch.zeros(50)]])
def test_what_cannot_be_mixed_stays(waveforms):
    result = mix(waveforms, 1.0, noise_share=0.0)
    assert all(torch.equal(r, w) for r, w in zip(result, waveforms, strict=True) if len(w) < 3)
    assert all(torch.isfinite(r).all() for r in result)


def test_training_mixes_evaluation_does_not(tiny_encoder, monkeypatch):
    from speechft.training.pretrain import masked_prediction as module

    calls = []

    def spy(items, share, generator):
        calls.append(share)
        return mix_utterances(items, share, generator)

    monkeypatch.setattr(module, "mix_utterances", spy)
    waveforms = batch(3)
    units = [torch.zeros(3, dtype=torch.int16).numpy()] * 3
    objective = MaskedPrediction(
        tiny_encoder, UnitPredictor(32, 4), units, dev=lambda: [([0, 1, 2], waveforms)], mixing=0.4
    )
    objective.before_update(1)
    objective.loss([0, 1, 2], waveforms)
    assert calls == [0.4]
    objective.evaluate()
    assert calls == [0.4]
