"""How alike two encoders' hidden states are, frame by frame."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FeatureSimilarity:
    """Linear CKA and mean cosine of two encoders' states, gathered batch by batch.

    Linear CKA is 1 where one set of states is the other, rotated and scaled as a whole, and 0 where
    neither says anything of the other. The cosine sees rotations too: it compares frame with frame
    as they stand, and is what a head trained on one encoder would notice with the other.

    Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", eq. 3
    in the form of its section 3 for more frames than dimensions.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._cosines = 0.0
        self._origins: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._products: list[Tensor] = []

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add frames (N, D) of one encoder and the same frames (N, D) of the other."""
        device = "cpu" if first.device.type == "mps" else first.device  # which has no float64
        x, y = (states.detach().float().to(device) for states in (first, second))
        self._cosines += float(torch.nn.functional.cosine_similarity(x, y, dim=1).double().sum())
        self.frames += len(x)
        # Near the mean nothing cancels out where the products are centred.
        self._origins = self._origins or [x.mean(dim=0), y.mean(dim=0)]
        x, y = x - self._origins[0], y - self._origins[1]
        sums = [states.double().sum(dim=0) for states in (x, y)]
        products = [(a.T @ b).double() for a, b in ((x, x), (y, y), (x, y))]
        self._sums = _plus(self._sums, sums)
        self._products = _plus(self._products, products)

    @property
    def cosine(self) -> float:
        """Mean cosine between the two encoders' states of a frame; NaN without frames."""
        return self._cosines / self.frames if self.frames else math.nan

    @property
    def cka(self) -> float:
        """Linear CKA, 0 to 1; NaN for a single frame, or where an encoder's states never change."""
        if self.frames < 2:
            return math.nan
        x, y = self._sums
        xx, yy, xy = (
            product - torch.outer(a, b) / self.frames
            for product, a, b in zip(self._products, (x, y, x), (x, y, y), strict=True)
        )
        norms = float(xx.norm() * yy.norm())
        return float(xy.square().sum()) / norms if norms > 0 else math.nan


def _plus(old: list[Tensor], new: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(old, new, strict=True)] if old else new
