from __future__ import annotations

import pytest
import torch
from torch import nn

from speechft.heads.rnn import Diarizer
from speechft.heads.spec_augment import SpecAugment
from speechft.heads.xvector import SHRINK, XVector, statistics


def unfolded(head, x):
    """The time-delay layers as S3PRL writes them: windows, a linear layer, ReLU."""
    x = head.projection(x)
    for layer, (size, dilation) in zip(
        head.layers, [(5, 1), (3, 2), (3, 3), (1, 1), (1, 1)], strict=True
    ):
        steps = x.shape[1] - (size - 1) * dilation
        windows = torch.stack([x[:, i * dilation :][:, :steps] for i in range(size)], dim=-1)
        x = torch.relu(torch.einsum("btck,ock->bto", windows, layer.weight) + layer.bias)
    return x


def test_xvector_has_superbs_shape_and_equals_it_step_by_step():
    torch.manual_seed(0)
    head = XVector(8, speakers=7).eval()
    assert [tuple(layer.weight.shape) for layer in head.layers] == [
        (512, 512, 5), (512, 512, 3), (512, 512, 3), (512, 512, 1), (1500, 512, 1),
    ]  # fmt: skip
    assert head.embedding.in_features == 3000
    assert head.directions.shape == (512, 7)
    x = torch.randn(1, 40, 8)
    frames = unfolded(head, x)
    assert frames.shape[1] == 40 - SHRINK == 26
    pooled = torch.cat([frames.mean(1), frames.std(1)], dim=1)
    expected = torch.relu(head.embedding(pooled))
    torch.testing.assert_close(head(x, torch.tensor([40])), expected, rtol=1e-4, atol=1e-5)
    head.train()
    hidden = torch.relu(head.hidden(expected))
    cosines = nn.functional.cosine_similarity(hidden[..., None], head.directions[None], dim=1)
    torch.testing.assert_close(head(x, torch.tensor([40])), cosines, rtol=1e-4, atol=1e-5)


def test_xvector_ignores_padding_but_for_s3prls_frame():
    torch.manual_seed(0)
    x = torch.randn(2, 40, 8)
    x[0, 30:] = 0
    lengths = torch.tensor([30, 40])
    head = XVector(8, 3, width=16, last=24).eval()
    alone = head(x[:1, :30], lengths[:1])
    torch.testing.assert_close(head(x, lengths)[:1], alone)
    torch.testing.assert_close(head(x, lengths)[1:], head(x[1:], lengths[1:]))
    head.padded_frame = True
    # S3PRL's test has one utterance per batch: no padding frame, however we make our batches.
    torch.testing.assert_close(head(x, lengths)[:1], alone)
    pooled = statistics(unfolded(head, x), torch.tensor([30 - SHRINK + 1, 40 - SHRINK]))
    quirk = torch.relu(head.embedding(pooled))
    assert (quirk[:1] - alone).abs().max() > 1e-4  # one frame more of the shorter utterance
    head.train()
    hidden = torch.relu(head.hidden(quirk))
    cosines = nn.functional.cosine_similarity(hidden[..., None], head.directions[None], dim=1)
    torch.testing.assert_close(head(x, lengths), cosines, rtol=1e-4, atol=1e-5)
    head.eval()
    short = head(x[:, :5], torch.tensor([5, 5]))  # shorter than its context
    assert torch.isfinite(short).all()


def test_statistics_of_half_precision_count_every_frame():
    x = torch.tensor([1.0, 3.0]).repeat(150)[None, :, None].bfloat16()
    found = statistics(x, torch.tensor([258]))
    assert found.dtype == torch.float32
    assert found[0].tolist() == pytest.approx([2.0, (258 / 257) ** 0.5], rel=1e-6)


def test_cosines_stay_float32_in_half_precision_training():
    torch.manual_seed(0)
    head = XVector(8, 5)
    x, lengths = torch.randn(2, 40, 8), torch.tensor([40, 30])
    with torch.autocast("cpu", torch.bfloat16):
        cosines = head(x, lengths)
    assert cosines.dtype == torch.float32
    assert not torch.equal(cosines, cosines.bfloat16().float())


def test_statistics_of_what_does_not_vary_have_a_gradient():
    x = torch.ones(1, 5, 2, requires_grad=True)
    found = statistics(x, torch.tensor([4]))
    assert found.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    found.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_diarizer_reads_forward_only():
    head = Diarizer(6, hidden=9)
    assert (head.lstm.hidden_size, head.lstm.bidirectional, head.output.out_features) == (
        9,
        False,
        2,
    )
    x = torch.randn(1, 12, 6)
    torch.testing.assert_close(head(x)[:, :5], head(x[:, :5]))
    assert Diarizer(6).lstm.hidden_size == 512


def test_spec_augment_masks_are_within_superbs_bounds_and_seeded():
    augment = SpecAugment(window=0).train()
    x, lengths = torch.ones(3, 300, 768), torch.tensor([300, 300, 300])
    widest_time = widest_feature = 0
    for seed in range(30):
        torch.manual_seed(seed)
        found = augment(x, lengths)
        torch.manual_seed(seed)
        assert torch.equal(found, augment(x, lengths))
        hidden = found == 0
        times, features = hidden.all(dim=2), hidden.all(dim=1)
        assert torch.equal(hidden, times[:, :, None] | features[:, None, :])
        widest_time = max(widest_time, int(times.sum(1).max()))
        widest_feature = max(widest_feature, int(features.sum(1).max()))
    assert 39 < widest_time <= 2 * 39
    assert 100 < widest_feature <= 4 * 49
    assert torch.equal(augment.eval()(x, lengths), x)


def test_spec_augment_warps_time_and_leaves_padding_and_features_in_place():
    augment = SpecAugment(feature_masks=1, feature_width=1, time_masks=1, time_width=1).train()
    ramp = torch.arange(60.0)[:, None] * torch.tensor([1.0, 10.0])
    x = torch.stack([ramp, ramp])
    moved = 0.0
    for seed in range(10):
        torch.manual_seed(seed)
        found = augment(x, torch.tensor([50, 10]))
        assert torch.equal(found[0, 50:], ramp[50:])
        assert torch.equal(found[1], ramp)  # too short to be warped
        torch.testing.assert_close(found[0, :, 1], 10 * found[0, :, 0])
        assert found[0, :50, 0].diff().min() > -0.5
        moved = max(moved, float((found[0] - ramp)[:50, 0].abs().max()))
    assert 1.0 < moved < 8.0


@pytest.mark.parametrize("width", [16, 768])
def test_spec_augment_leaves_most_of_small_hidden_states(width):
    torch.manual_seed(0)
    found = SpecAugment().train()(torch.ones(8, 400, width), torch.full((8,), 400))
    assert 0.5 < float((found != 0).float().mean()) < 1.0
