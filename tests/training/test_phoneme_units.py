"""Phonemes as units, and features smoothed before clustering."""

import numpy as np
import pytest
import torch
from lhotse.supervision import AlignmentItem, SupervisionSegment
from lhotse.testing.dummies import dummy_cut

from speechft.core.errors import DataError
from speechft.training.pretrain.phoneme_units import phoneme_units
from speechft.training.pretrain.units import smoothed


def cut(items, duration=0.2):
    phones = [AlignmentItem(*item) for item in items]
    one = SupervisionSegment("s", "r", 0.0, duration, alignment={"phone": phones})
    return dummy_cut(0, duration=duration, supervisions=[one])


def test_frames_take_the_phoneme_that_covers_them():
    units, symbols = phoneme_units(
        [cut([("a", 0.02, 0.06), ("b", 0.08, 0.04)]), cut([("b", 0.0, 0.2)])], hop=320
    )
    assert symbols == ["SIL", "a", "b"]
    assert units[0].tolist() == [0, 1, 1, 1, 2, 2, 0, 0, 0, 0]
    assert set(units[1].tolist()) == {2}


def test_without_an_alignment():
    one = SupervisionSegment("s", "r", 0.0, 1.0)
    with pytest.raises(DataError, match="no alignment of phonemes"):
        phoneme_units([dummy_cut(3, supervisions=[one])], hop=320)


def test_smoothing_takes_level_and_scale_out():
    features = torch.randn(50, 4, generator=torch.manual_seed(0))
    plain = smoothed(lambda waves: [w for w in waves], 3)
    one, scaled = plain([features, 3 * features + 5])
    assert torch.allclose(one, scaled, atol=1e-5)
    normal = (features - features.mean(0)) / features.std(0, correction=0)
    assert np.allclose(one[10], normal[9:12].mean(0), atol=1e-6)
    assert one.shape == features.shape
