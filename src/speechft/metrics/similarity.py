"""How alike two encoders' hidden states are, frame by frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

VARIANCE: Final = 0.99  # that SVCCA keeps of each encoder's states
_FLAT: Final = 1e-6  # share of the largest variance below which a direction is rounding


class MeanCosine:
    """Mean cosine of two encoders' states, gathered batch by batch.

    It compares frame with frame as they stand, and is what a head trained on one encoder would
    notice with the other.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._cosines = 0.0

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add frames (N, D) of one encoder and the same frames (N, D) of the other."""
        x, y = _prepared(first), _prepared(second)
        self._cosines += float(torch.nn.functional.cosine_similarity(x, y, dim=1).double().sum())
        self.frames += len(x)

    @property
    def cosine(self) -> float:
        """Mean cosine between the two encoders' states of a frame; NaN without frames."""
        return self._cosines / self.frames if self.frames else math.nan


@dataclass(frozen=True)
class Batch:
    """Frames of one encoder, and what is summed of them; float64 but for the frames.

    Attributes:
        states: as they stand (N, D).
        centred: from the side's origin (N, D).
        total: their sum (D,).
        product: of the centred frames with themselves (D, D).
        norms: squared length of each centred frame (N,).
    """

    states: Tensor
    centred: Tensor
    total: Tensor
    product: Tensor
    norms: Tensor


class Side:
    """One encoder's states: what all comparisons with it share is computed once."""

    def __init__(self) -> None:
        self._origin: Tensor | None = None
        self.frames = 0
        self.total: Tensor | float = 0.0
        self.product: Tensor | float = 0.0
        self._spectrum: tuple[int, Tensor, Tensor] | None = None

    def see(self, states: Tensor) -> Batch:
        """Take frames (N, D)."""
        x = _prepared(states)
        # Near the mean nothing cancels out where the products are centred.
        self._origin = x.mean(dim=0) if self._origin is None else self._origin
        centred = x - self._origin
        total, norms = centred.double().sum(dim=0), centred.double().square().sum(dim=1)
        batch = Batch(x, centred, total, (centred.T @ centred).double(), norms)
        self.total, self.product = self.total + total, self.product + batch.product
        self.frames += len(x)
        return batch

    @property
    def covariance(self) -> Tensor:
        """The sum of products of the frames about their mean (D, D)."""
        total = torch.as_tensor(self.total)
        return torch.as_tensor(self.product) - torch.outer(total, total) / self.frames

    def whitening(self, variance: float) -> Tensor:
        """Give directions that hold this share of the variance, each over its deviation: (D, k)."""
        if self._spectrum is None or self._spectrum[0] != self.frames:
            values, vectors = torch.linalg.eigh(self.covariance)
            self._spectrum = self.frames, values.flip(0).clamp(min=0), vectors.flip(1)
        _, values, vectors = self._spectrum
        kept = values > _FLAT * values[0]
        if variance < 1:
            kept &= (values.cumsum(0) - values) < variance * values.sum()
        return vectors[:, kept] / values[kept].sqrt()


class FeatureSimilarity(MeanCosine):
    """Linear CKA, CCA, SVCCA and mean cosine of two encoders' states, gathered batch by batch.

    Linear CKA is 1 where one set of states is the other, rotated and scaled as a whole, and 0 where
    neither says anything of the other. CCA is 1 where one is the other under any invertible map.
    Memory does not grow with the frames.

    Args:
        first: the one encoder's states, where other comparisons share them: then `add` is given
            what its `see` gives.

    Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", eq. 3
    in the form of its section 3 for more frames than dimensions, and its section 3 on CCA.
    """

    def __init__(self, first: Side | None = None) -> None:
        super().__init__()
        self._first, self._second = first or Side(), Side()
        self._cross: Tensor | float = 0.0
        self._unbiased = [0.0, 0.0, 0.0]  # HSIC of first and second, of each with itself

    def add(self, first: Tensor | Batch, second: Tensor) -> None:
        """Add frames (N, D) of one encoder and the same frames (N, D) of the other."""
        one = first if isinstance(first, Batch) else self._first.see(first)
        other = self._second.see(second)
        super().add(one.states, other.states)
        cross = (one.centred.T @ other.centred).double()
        self._cross = self._cross + cross
        if len(one.norms) > 3:
            pairs = ((one, other, cross), (one, one, one.product), (other, other, other.product))
            found = [len(one.norms) * unbiased_hsic(*pair) for pair in pairs]
            self._unbiased = [a + b for a, b in zip(self._unbiased, found, strict=True)]

    @property
    def cka(self) -> float:
        """Linear CKA, 0 to 1; NaN for a single frame, or where an encoder's states never change."""
        if self.frames < 2:
            return math.nan
        norms = float(self._first.covariance.norm() * self._second.covariance.norm())
        return float(self._covariance.square().sum()) / norms if norms > 0 else math.nan

    @property
    def unbiased_cka(self) -> float:
        """Linear CKA of the means over batches of unbiased HSIC; NaN as `cka`, or below 4 frames.

        Few frames do not raise it; by chance it may be a little below 0.

        Source: Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", eq. 2 and 3;
        batches count by their frames.
        """
        both, one, other = self._unbiased
        return both / math.sqrt(one * other) if one > 0 and other > 0 else math.nan

    @property
    def cca(self) -> float:
        """Mean squared canonical correlation, 0 to 1; 1 for no more frames than dimensions."""
        found = self._correlations(1.0)
        return math.nan if found is None else float(found.square().mean())

    @property
    def svcca(self) -> float:
        """Mean canonical correlation of the directions that hold 99 % of each one's variance.

        Source: Raghu et al. 2017, "SVCCA".
        """
        found = self._correlations(VARIANCE)
        return math.nan if found is None else float(found.mean())

    @property
    def _covariance(self) -> Tensor:
        x, y = torch.as_tensor(self._first.total), torch.as_tensor(self._second.total)
        return torch.as_tensor(self._cross) - torch.outer(x, y) / self.frames

    def _correlations(self, variance: float) -> Tensor | None:
        """Give the canonical correlations; none where an encoder's states never change."""
        if self.frames < 2:
            return None
        left, right = self._first.whitening(variance), self._second.whitening(variance)
        if not left.shape[1] or not right.shape[1]:
            return None
        found: Tensor = torch.linalg.svdvals(left.T @ self._covariance @ right)
        return found.clamp(max=1.0)


def unbiased_hsic(first: Batch, second: Batch, cross: Tensor) -> float:
    """Give the unbiased estimate of HSIC with linear kernels, without N-by-N matrices.

    Args:
        first: frames of one encoder, at least 4, about any origin.
        second: the same frames of the other.
        cross: product of the two (D, D).

    Source: Song et al. 2012, "Feature Selection via Dependence Maximization", eq. 5: with K̃ and L̃
    the kernels with a zero diagonal, (tr K̃L̃ + 1ᵀK̃1 · 1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2) · 1ᵀK̃L̃1) /
    (n(n−3)).
    """
    n = len(first.norms)
    trace = float(cross.square().sum() - first.norms @ second.norms)
    rows = [one.centred.double() @ one.total - one.norms for one in (first, second)]
    whole = float(rows[0].sum() * rows[1].sum()) / ((n - 1) * (n - 2))
    return (trace + whole - 2 / (n - 2) * float(rows[0] @ rows[1])) / (n * (n - 3))


def _prepared(states: Tensor) -> Tensor:
    """Give states without gradients, float32 or float64, where that can be computed."""
    device = "cpu" if states.device.type == "mps" else states.device  # which has no float64
    states = states.detach().to(device)
    return states if states.dtype == torch.float64 else states.float()
