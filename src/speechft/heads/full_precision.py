"""LSTMs and cosines in float32, whatever precision the encoder computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_LESS = (torch.bfloat16, torch.float16)


@contextmanager
def full_precision(x: Tensor) -> Iterator[Tensor]:
    """Give x in float32, outside of any autocast.

    On a GPU autocast runs LSTMs in float16 even where bfloat16 is asked for, and without scaling
    of the loss small gradients would vanish there. Products of cosines would be rounded to 8 bits.
    """
    with torch.autocast(x.device.type, enabled=False):
        yield x.float() if x.dtype in _LESS else x
