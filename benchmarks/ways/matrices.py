"""What candidates add to a matrix θ0 on the way to θ', in formulas of one matrix each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

QUARTER = 0.25
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Matrix:
    """A matrix of a layer: its name, θ0 (out, in), θ' − θ0, and the mean of x xᵀ over its inputs x
    (in, in), of θ0 and of θ', where they are known."""

    name: str
    base: Tensor
    moved: Tensor
    gram: Tensor | None = None
    tuned_gram: Tensor | None = None


Change = Callable[[Matrix], Tensor]


def strongest(moved: Tensor, share: float, gram: Tensor | None = None) -> Tensor:
    """Give the part of a change (out, in) on its strongest output directions."""
    seen = moved if gram is None else moved @ root(gram)
    left = torch.linalg.svd(seen, full_matrices=False)[0]
    left = left[:, : max(1, round(share * left.shape[1]))]
    return left @ (left.T @ moved)


def loud(moved: Tensor, share: float, gram: Tensor) -> Tensor:
    """Give the part of a change (out, in) that the strongest directions of its inputs carry."""
    vectors = torch.linalg.eigh(gram)[1].flip(1)[:, : max(1, round(share * len(gram)))]
    return (moved @ vectors) @ vectors.T


def root(gram: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def outside(moved: Tensor, base: Tensor, share: float) -> Tensor:
    """Give a change (out, in) without what lies in θ0's strongest singular directions.

    As OPCM's `merge_linear_weights` in FusionBench, with θ0 in the place of what was merged before:
    the directions whose singular values sum to `share` of all, and the diagonal, are taken away.
    """
    left, values, right = torch.linalg.svd(base, full_matrices=True)
    inner = left.T @ moved @ right.T
    inner.diagonal().fill_(0)
    rank = int((values.cumsum(0) / values.sum() > share).float().argmax())
    inner[:rank, :rank] = 0
    return left @ inner @ right


def weighed(moved: Tensor, share: float) -> Tensor:
    """Give a change (out, in) by the covariance that ACE reads from it, beside θ0 with none.

    (θ0 λI + θ' C)(C + λI)⁻¹ − θ0 = (θ' − θ0) C (C + λI)⁻¹, C = (θ' − θ0)ᵀ(θ' − θ0), so that every
    singular value s becomes s · s² / (s² + λ); λ is `share` of the mean of s².
    """
    left, values, right = torch.linalg.svd(moved, full_matrices=False)
    energy = values.square()
    return (left * (values * energy / (energy + share * energy.mean()))) @ right


def regressed(moved: Tensor, alpha: float, gram: Tensor, tuned_gram: Tensor) -> Tensor:
    """Give RegMean's step from θ0 to θ' with weights 1 − alpha and alpha.

    ((1 − a) θ0 G0 + a θ' G')((1 − a) G0 + a G')⁻¹ − θ0 = (θ' − θ0) a G' ((1 − a) G0 + a G')⁻¹:
    with equal G, as RegMean++ has them for the same speech, plain alpha.
    """
    both = (1 - alpha) * gram + alpha * tuned_gram
    both = both + 1e-6 * both.diagonal().mean() * torch.eye(len(both), dtype=both.dtype)
    return torch.linalg.solve(both, alpha * tuned_gram @ moved.T).T


def effective_rank(matrix: Tensor) -> float:
    """Give exp of the entropy of the squared singular values, taken as shares."""
    energy = torch.linalg.svdvals(matrix).square()
    share = energy / energy.sum()
    return float(torch.special.entr(share).sum().exp())


def change_of(kind: str, alpha: float, share: float = 0.0) -> Change:
    """Give what a candidate adds to a matrix."""

    def change(one: Matrix) -> Tensor:
        if kind == "rank":
            return alpha * strongest(one.moved, share)
        if kind == "outside":
            return alpha * outside(one.moved, one.base, share)
        if kind == "weighed":
            return alpha * weighed(one.moved, share)
        if kind == "attention":
            return (alpha if ".attention." in one.name or "attn." in one.name else QUARTER) * (
                one.moved
            )
        if one.gram is None:
            return QUARTER * one.moved
        if kind == "shift":
            return alpha * strongest(one.moved, share, one.gram)
        if kind == "regmean" and one.tuned_gram is not None:
            return regressed(one.moved, alpha, one.gram, one.tuned_gram)
        return alpha * one.moved + (QUARTER - alpha) * loud(one.moved, share, one.gram)

    return change


def is_matrix(name: str, value: Tensor) -> bool:
    """Tell whether a tensor is a matrix of a layer."""
    return value.dim() == 2 and name.endswith(".weight") and ".layers." in f".{name}"


def changed(
    base: Weights, tuned: Weights, grams: Weights, tuned_grams: Weights, change: Change
) -> dict[str, Tensor]:
    """Change the matrices of the layers by a candidate; all else goes by a quarter."""
    made = {}
    for name, start in base.items():
        first = start.double()
        moved = tuned[name] - first
        own = QUARTER * moved
        if is_matrix(name, start):
            own = change(Matrix(name, first, moved, grams.get(name), tuned_grams.get(name)))
        made[name] = (first + own).to(start.dtype)
    return made
