"""Dropout that is drawn fast, beside torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from speechft.encoders import build_encoder
from speechft.encoders.dropout import FastDropout, draw_kept, scale_of, use_fast_dropout


@pytest.mark.parametrize("dropout", [0.1, 0.25, 0.5, 0.9])
def test_the_share_is_right_everywhere(dropout):
    torch.manual_seed(0)
    kept = draw_kept((4, 250_001), dropout)
    assert kept.dtype == torch.bool
    assert kept.shape == (4, 250_001)
    for part in (*kept, *(kept.flatten()[place::4] for place in range(4))):
        assert float(part.float().mean()) == pytest.approx(1 - dropout, abs=4e-3)
    neighbours = kept.float() - (1 - dropout)
    for apart in (1, 2, 3, 4, 8):
        both = (neighbours[:, apart:] * neighbours[:, :-apart]).mean()
        assert abs(float(both)) < 1.5e-3 * 4 * dropout * (1 - dropout) + 1e-4
    assert scale_of(dropout) == pytest.approx(1 / (1 - dropout), rel=1e-4 / (1 - dropout))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (3, 5, 11), (0, 4)])
def test_values_and_gradients(shape, dtype):
    torch.manual_seed(0)
    given = torch.rand(shape).add(1).to(dtype).requires_grad_()
    dropped = FastDropout(0.3)(given)
    assert dropped.shape == shape
    assert dropped.dtype == dtype
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], given[kept] * scale_of(0.3))
    dropped.sum().backward()
    torch.testing.assert_close(given.grad, kept * torch.tensor(scale_of(0.3), dtype=dtype))


def test_a_single_number():
    given = torch.tensor(3.0, requires_grad=True)
    found = {float(FastDropout(0.5)(given)) for _ in range(50)}
    assert found == {0.0, 6.0}


def test_it_is_drawn_where_the_tensor_is():
    with torch.device("meta"):  # whatever new tensors are made on by default
        assert FastDropout(0.5)(torch.ones(8, device="cpu")).device.type == "cpu"


def test_the_seed_says_what_is_drawn_whatever_the_threads():
    found, threads = [], torch.get_num_threads()
    for number in (1, 2, 1):
        torch.set_num_threads(number)
        torch.manual_seed(5)
        found.append(FastDropout(0.2)(torch.ones(50_000)))
        found.append(FastDropout(0.2)(torch.ones(50_000)))
    torch.set_num_threads(threads)
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[0], found[4])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("share", [0.0, 1.0, 1e-9, 1 - 1e-9])
def test_extreme_shares(share):
    dropped = FastDropout(share)(torch.ones(1000))
    assert bool(torch.isfinite(dropped).all())
    assert int((dropped == 0).sum()) == (1000 if share > 0.5 else 0)


def test_the_share_is_exact_to_its_last_step():
    torch.manual_seed(0)
    assert bool(draw_kept((2**21,), 1e-9).all())
    assert 10 < int(draw_kept((2**21,), 1 - 1e-9).sum()) < 70  # 32 of 2^21 are one of 2^16
    assert scale_of(0.1) * (2**16 - 6554) == pytest.approx(2**16, rel=1e-12)  # 6553.6, rounded


def test_what_is_left_to_torch():
    given = torch.ones(1000)
    assert FastDropout(0.5, inplace=True)(given) is given
    assert int((given == 0).sum()) > 400
    assert FastDropout(0.5)(torch.ones(3, device="meta")).device.type == "meta"
    with_values = torch.func.vmap(FastDropout(0.5), randomness="different")(torch.ones(50, 4))
    assert {*with_values.flatten().tolist()} == {0.0, 2.0}


def test_it_does_nothing_when_it_is_no_training():
    given = torch.randn(10)
    assert FastDropout(0.5).eval()(given) is given


def test_plain_dropout_of_an_encoder_becomes_fast(tiny_config):
    model = nn.Sequential(nn.Dropout(0.1), nn.AlphaDropout(0.1), nn.Linear(2, 2))
    use_fast_dropout(model)
    assert [type(module) for module in model] == [FastDropout, nn.AlphaDropout, nn.Linear]
    encoder = build_encoder(tiny_config("hubert"), 0)
    kinds = {type(m) for m in encoder.model.modules() if isinstance(m, nn.Dropout)}
    assert kinds == {FastDropout}
