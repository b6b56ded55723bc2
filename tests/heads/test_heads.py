from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from speechft.core.lengths import masked_mean, padding_mask, reversal
from speechft.heads.linear import FrameLinear, PooledLinear, WeightedSum
from speechft.heads.rnn import BidirectionalLSTM, Diarizer, RecurrentCTC


def test_weighted_sum_starts_as_the_mean_and_learns_softmax_shares():
    torch.manual_seed(0)
    states = torch.randn(3, 2, 5, 4)
    layer = WeightedSum(3)
    torch.testing.assert_close(layer(states), states.mean(dim=0))
    with torch.no_grad():
        layer.weights.copy_(torch.tensor([0.0, 1.0, 2.0]))
    shares = torch.softmax(torch.tensor([0.0, 1.0, 2.0]), dim=0)
    expected = sum(share * state for share, state in zip(shares, states, strict=True))
    torch.testing.assert_close(layer(states), expected)
    torch.testing.assert_close(layer(states[:, :, 0]), expected[:, 0])  # (K, B, D)


def test_pooled_head_gives_the_same_for_frames_and_time_means():
    torch.manual_seed(0)
    x, lengths = torch.randn(3, 7, 6), torch.tensor([7, 4, 1])
    head = PooledLinear(6, 5, projection=4)
    frames = head(x, lengths)
    assert frames.shape == (3, 5)
    torch.testing.assert_close(frames, head(masked_mean(x, lengths)), rtol=1e-5, atol=1e-6)
    noisy = x.clone()
    noisy[1, 4:] = 1e3
    torch.testing.assert_close(head(noisy, lengths), frames)
    assert not torch.allclose(head(x.mean(dim=1)), frames)  # control: padding would count


def test_frame_head_shapes_and_published_widths():
    head = FrameLinear(768, 74)
    assert head(torch.randn(2, 3, 768), torch.tensor([3, 2])).shape == (2, 3, 74)
    assert sum(p.numel() for p in head.parameters()) == 768 * 256 + 256 + 256 * 74 + 74


def test_frame_head_equals_its_two_layers_in_turn():
    torch.manual_seed(0)
    head = FrameLinear(6, 5, projection=4)
    x = torch.randn(2, 3, 6)
    one, two = head(x), head.output(head.projection(x))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    weights = list(head.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(one.pow(2).sum(), weights),
        torch.autograd.grad(two.pow(2).sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_recurrent_head_does_not_see_padding():
    torch.manual_seed(0)
    head = RecurrentCTC(6, 5, projection=4, hidden=3, layers=2).eval()
    x, lengths = torch.randn(3, 9, 6), torch.tensor([5, 9, 2])
    batch = head(x, lengths)
    assert batch.shape == (3, 9, 5)
    for i, length in enumerate(lengths.tolist()):
        alone = head(x[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(batch[i : i + 1, :length], alone, rtol=1e-5, atol=1e-6)
    # control: a longer length changes what the backward direction sees
    other = head(x, torch.tensor([6, 9, 2]))
    assert not torch.allclose(other[0, :5], batch[0, :5])


def test_bidirectional_layer_equals_torchs_packed_one():
    torch.manual_seed(0)
    ours = BidirectionalLSTM(4, 3)
    theirs = nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, weight in ours.forwards.named_parameters():
            getattr(theirs, name).copy_(weight)
        for name, weight in ours.backwards.named_parameters():
            getattr(theirs, f"{name}_reverse").copy_(weight)
    x, lengths = torch.randn(3, 7, 4), torch.tensor([7, 2, 5])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    got = ours(x, reversal(lengths, 7))
    keep = ~padding_mask(lengths)
    torch.testing.assert_close(got[keep], expected[keep], rtol=1e-5, atol=1e-6)
    plain, _ = theirs(x)  # control: without packing the padding is read
    assert not torch.allclose(plain[keep], expected[keep], atol=1e-3)


def test_reversal():
    turn = reversal(torch.tensor([3, 1, 4]), 4)
    assert turn.tolist() == [[2, 1, 0, 3], [0, 1, 2, 3], [3, 2, 1, 0]]


def test_recurrent_head_drops_only_in_training():
    head = RecurrentCTC(4, 3, projection=4, hidden=4, layers=1, dropout=0.5)
    x, lengths = torch.randn(1, 6, 4), torch.tensor([6])
    assert not torch.equal(head(x, lengths), head(x, lengths))
    head.eval()
    assert torch.equal(head(x, lengths), head(x, lengths))


@pytest.mark.parametrize("kind", [RecurrentCTC, Diarizer])
def test_recurrent_heads_are_float32_under_bf16(kind):
    torch.manual_seed(0)
    head = kind(8, 5, hidden=4).eval()
    x, lengths = torch.randn(2, 7, 8), torch.tensor([7, 5])
    plain = head(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head(x.bfloat16(), lengths)
        lost = torch.nn.functional.linear(x, torch.ones(3, 8))
    assert lost.dtype is torch.bfloat16  # control
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, plain, rtol=0.05, atol=0.02)
    found.sum().backward()
