"""Coefficients of the way from θ0 to θ' that are learned from a few labelled utterances.

Sources: gates on the singular values of every matrix's task vector (SVR, arXiv 2601.18266), and one
coefficient per layer (AdaLTM, arXiv 2603.25041). Both learn from labels; what holds them here is no
rehearsal with labels of earlier tasks, which nobody has for θ0, but the drift of the hidden states.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from ways.matrices import Weights, is_matrix

from speechft.core.lengths import padding_mask
from speechft.encoders import EncoderOutput, SpeechEncoder

STEPS, RATE, HOLD = 60, 0.1, 10.0


@dataclass(frozen=True)
class Batch:
    """Waveforms, and what the head should make of them."""

    waveforms: list[Tensor]
    targets: list[Tensor]


Loss = Callable[[EncoderOutput, Sequence[Tensor]], Tensor]


class Way(nn.Module):
    """Weights between θ0 and θ' with coefficients in (0, 1), all of them `alpha` at first.

    Args:
        base: θ0.
        tuned: θ'.
        kind: "gates", of every singular value of every matrix of a layer, or "layers", one for all
            tensors of a layer. What else there is stays at alpha.
        alpha: where it begins.
    """

    def __init__(self, base: Weights, tuned: Weights, kind: str, alpha: float) -> None:
        super().__init__()
        self.base, self.alpha = dict(base), alpha
        self.moved = {name: tuned[name] - start for name, start in base.items()}
        self.logits = nn.ParameterDict()
        self.keys: dict[str, str] = {}
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}
        for name, start in base.items():
            if kind == "layers" and ".layers." in f".{name}":
                self.keys[name] = name.partition("layers.")[2].partition(".")[0]
                self._begin(self.keys[name], 1)
            if kind == "gates" and is_matrix(name, start):
                left, values, right = torch.linalg.svd(self.moved[name], full_matrices=False)
                self.parts[name], self.keys[name] = (left * values, right), name.replace(".", "-")
                self._begin(self.keys[name], len(values))

    def _begin(self, key: str, count: int) -> None:
        if key not in self.logits:
            start = math.log(self.alpha / (1 - self.alpha))
            self.logits[key] = nn.Parameter(torch.full((count,), start))

    def weights(self) -> dict[str, Tensor]:
        """Give the weights at the coefficients of now."""
        made = {}
        for name, start in self.base.items():
            if name not in self.keys:
                made[name] = start + self.alpha * self.moved[name]
                continue
            share = self.logits[self.keys[name]].sigmoid()
            if name in self.parts:
                left, right = self.parts[name]
                made[name] = start + (left * share) @ right
            else:
                made[name] = start + share * self.moved[name]
        return made


def drift(moved: EncoderOutput, start: EncoderOutput) -> Tensor:
    """Give the mean over hidden states of the squared distance over the variance."""
    keep = ~padding_mask(start.lengths, start.hidden_states[0].shape[1])
    parts = [
        (new[keep] - old[keep]).square().mean() / old[keep].var()
        for new, old in zip(moved.hidden_states, start.hidden_states, strict=True)
    ]
    return torch.stack(parts).mean()


def learn(
    encoder: SpeechEncoder, way: Way, batches: Sequence[Batch], loss: Loss, steps: int = STEPS
) -> dict[str, Any]:
    """Learn the coefficients: least loss where the states drift no further than at plain alpha.

    Args:
        encoder: θ0.
        way: is changed.
        batches: taken in turn.
        loss: of the encoder's output, with θ's head.
        steps: updates.

    Returns:
        The loss and the drift, in units of that at plain alpha, before and after; means.
    """
    encoder.requires_grad_(False)

    def encode(weights: Weights, batch: Batch) -> EncoderOutput:
        named = {f"model.{name}": value for name, value in weights.items()}
        return functional_call(encoder, named, (batch.waveforms,))

    with torch.no_grad():
        starts = [encoder(batch.waveforms) for batch in batches]
        plain = way.weights()
        limits = [drift(encode(plain, b), s) for b, s in zip(batches, starts, strict=True)]

    def figures() -> dict[str, float]:
        with torch.no_grad():
            weights = way.weights()
            outputs = [encode(weights, batch) for batch in batches]
            losses = [loss(o, b.targets) for o, b in zip(outputs, batches, strict=True)]
            drifts = [drift(o, s) / n for o, s, n in zip(outputs, starts, limits, strict=True)]
        mean = {"loss": torch.stack(losses).mean(), "drift": torch.stack(drifts).mean()}
        return {name: float(value) for name, value in mean.items()}

    before = figures()
    optimiser = torch.optim.Adam(way.logits.parameters(), lr=RATE)
    for step in range(steps):
        number = step % len(batches)
        output = encode(way.weights(), batches[number])
        beyond = drift(output, starts[number]) / limits[number] - 1
        total = loss(output, batches[number].targets) + HOLD * beyond.clamp(min=0)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    return {"before": before, "after": figures()}
