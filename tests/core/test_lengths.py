import torch

from speechft.core.lengths import (
    conv_length,
    conv_lengths,
    masked_mean,
    pad_waveforms,
    padding_mask,
)
from speechft.core.seeding import derive_seed

KERNELS, STRIDES = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]


def test_lengths_are_those_of_real_convolutions():
    layers = [torch.nn.Conv1d(1, 1, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]
    stack = torch.nn.Sequential(*layers)
    for samples in (400, 719, 720, 1039, 1040, 16000, 12345):
        frames = stack(torch.zeros(1, 1, samples)).shape[-1]
        assert conv_length(samples, KERNELS, STRIDES) == frames == (samples - 80) // 320
        assert conv_lengths(torch.tensor([samples]), KERNELS, STRIDES).tolist() == [frames]
    assert conv_length(0, KERNELS, STRIDES) == 0
    assert conv_lengths(torch.tensor([0, 399]), KERNELS, STRIDES).tolist() == [0, 0]


def test_masks_are_true_where_padded():
    assert padding_mask(torch.tensor([1, 3])).tolist() == [[False, True, True], [False] * 3]


def test_masked_mean_ignores_padding():
    values = torch.tensor([[[1.0], [3.0], [99.0]], [[2.0], [4.0], [6.0]]])
    assert masked_mean(values, torch.tensor([2, 3])).tolist() == [[2.0], [4.0]]


def test_masked_mean_of_half_precision_counts_every_frame():
    values = torch.ones(1, 300, 1, dtype=torch.bfloat16)
    mean = masked_mean(values, torch.tensor([257]))
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[1.0]]


def test_padding():
    batch, lengths = pad_waveforms([torch.ones(2), torch.ones(3)])
    assert batch.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert lengths.tolist() == [2, 3]


def test_seeds_depend_on_every_name_and_are_pinned():
    assert derive_seed(0, "a") != derive_seed(0, "b") != derive_seed(1, "b")
    assert derive_seed(0, "order") == derive_seed(0, "order")
    assert 0 <= derive_seed(123, "x", 4) < 2**31
