"""How far hidden states move on the way from θ0 to θ', and the alpha that keeps them near.

Layer by layer the states on the way are close to the mixture of those at both ends, so one pass of
each end predicts the whole way.

Source:
    Zhou et al. 2023, "Going Beyond Linear Mode Connectivity: The Layerwise Linear Feature
    Connectivity", definition 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

FINE: float = 1e-3  # alphas are rounded down to so much


def predicted(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    """Give the states that are expected at alpha: (1 − alpha) · start + alpha · end."""
    return torch.lerp(start, end, alpha)


def drift(start: Tensor, moved: Tensor) -> Tensor:
    """Give how far states have moved, layer by layer, in standard deviations of where they were.

    Args:
        start: θ0's states (K, N, D).
        moved: the other encoder's on the same frames (K, N, D).

    Returns:
        (K,), float64: the root of mean ‖moved − start‖² over mean ‖start − their mean‖²; 0 where
        nothing moves.
    """
    return relative_error([(start, moved, start)])


def relative_error(parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Give how far states are from others, layer by layer, in standard deviations of a third.

    Args:
        parts: (first, second, measure) of some frames, each (K, N, D); sums go over all parts.

    Returns:
        (K,), float64: root of Σ ‖second − first‖² over Σ ‖measure − their mean‖².

    Raises:
        ValueError: there is no part.
    """
    square = sums = squares = torch.zeros(())
    count = 0
    for first, second, measure in parts:
        a, b, m = first.double(), second.double(), measure.double()
        square = square + (b - a).square().sum(dim=(1, 2))
        sums, squares = sums + m.sum(dim=1), squares + m.square().sum(dim=(1, 2))
        count += m.shape[1]
    if not count:
        raise ValueError("no frames to compare")
    spread = squares - sums.square().sum(dim=-1) / count
    return torch.where(square > 0, square / spread.clamp(min=0), 0.0).sqrt()


def overall(by_layer: Tensor) -> float:
    """Give the root mean square over the hidden states."""
    return float(by_layer.square().mean().sqrt())


def largest_alpha(total: float, bound: float) -> float:
    """Give the largest alpha in [0, 1] whose predicted drift, which grows as alpha, is in bounds.

    Args:
        total: drift at alpha = 1.
        bound: in standard deviations.
    """
    return 1.0 if total <= bound else bound / total


def layer_alphas(full: Tensor, bound: float) -> list[float]:
    """Give the largest alpha of every layer by its own output.

    Args:
        full: drift of every hidden state at alpha = 1, the transformer's input first: (L + 1,).
        bound: in standard deviations.

    Returns:
        L numbers in [0, 1], the first layer's first.
    """
    return [largest_alpha(float(one), bound) for one in full[1:]]


def corrected(alphas: list[float], found: float, bound: float, full: float) -> list[float]:
    """Give alphas that are expected to meet the bound, after what was found at others.

    Between these and θ', drift is taken to grow as a power of alpha.

    Args:
        alphas: those that were tried.
        found: drift there.
        bound: in standard deviations.
        full: drift at θ'.
    """
    if found <= 0:
        return [1.0] * len(alphas)
    middle = sum(alphas) / len(alphas)
    power = math.log(full / found) / -math.log(middle) if full > found and middle < 1 else 1.0
    share = (bound / found) ** (1 / min(3.0, max(0.5, power)))
    return [min(1.0, alpha * share) for alpha in alphas]


def text_of(alphas: list[float]) -> str:
    """Give alphas as text of `--alpha`, rounded down: one number, or a ramp over the layers."""
    rounded = [f"{int(alpha / FINE + 1e-9) * FINE:.3f}".rstrip("0").rstrip(".") for alpha in alphas]
    return rounded[0] if len(rounded) == 1 else "..".join(rounded)


def numbers_of(text: str) -> list[float]:
    """Read such a text."""
    return [float(part) for part in text.split("..")]
