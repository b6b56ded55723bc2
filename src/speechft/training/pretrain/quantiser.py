"""Product quantisation with the Gumbel softmax: several codebooks, one entry chosen from each.

Sources: Jang et al. 2017, "Categorical Reparameterization with Gumbel-Softmax"; wav2vec 2.0
(Baevski et al. 2020), section 2, "Quantization module", and equation 4 for the diversity loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY = 1e-7
ANNEALED = 0.7  # share of the updates in which the temperature falls, as in wav2vec 2.0 Base


class Quantised(NamedTuple):
    """What a quantiser makes of N frames.

    Attributes:
        values: chosen entries side by side (N, D).
        codes: index of the chosen entry in each codebook (N, G).
        usage: how often each entry was chosen (G, V).
        diversity: 0 where all entries are equally likely on average, near 1 where one takes all.
    """

    values: Tensor
    codes: Tensor
    usage: Tensor
    diversity: Tensor


class GumbelQuantiser(nn.Module):
    """Chooses one of V entries from each of G codebooks for every frame.

    In training the choice is a sample, and gradients flow straight through it by way of the
    softmax; in evaluation it is the likeliest entry. Everything is computed in float32.

    Args:
        input_dim: width of the frames.
        groups: codebooks G.
        entries: entries V of each.
        width: width D of the result, a multiple of G.
        spread: standard deviation of the projection's first weights; the logits' spread grows
            with it, and with it how decided the first choices are (1 in wav2vec 2.0).
    """

    def __init__(
        self,
        input_dim: int,
        groups: int = 2,
        entries: int = 320,
        width: int = 256,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        self.groups, self.entries, self.width = groups, entries, width
        self.temperature = 1.0
        self.weight_proj = nn.Linear(input_dim, groups * entries)
        nn.init.normal_(self.weight_proj.weight, std=spread)
        nn.init.zeros_(self.weight_proj.bias)
        # Around 0, as what all entries share would make their cosines alike.
        self.vars = nn.Parameter(torch.randn(1, groups * entries, width // groups))

    def forward(self, frames: Tensor) -> Quantised:
        """Quantise frames (N, C)."""
        with torch.autocast(frames.device.type, enabled=False):
            logits = self.weight_proj(frames.float()).view(-1, self.groups, self.entries)
            chosen = self._choose(logits)
            book = self.vars.view(self.groups, self.entries, -1)
            values = torch.einsum("ngv,gvd->ngd", chosen, book).flatten(1)
            average = logits.softmax(dim=-1).mean(dim=0)
            diversity = 1 - perplexity(average).sum() / (self.groups * self.entries)
        return Quantised(values, chosen.argmax(dim=-1), chosen.detach().sum(dim=0), diversity)

    def _choose(self, logits: Tensor) -> Tensor:
        """Give one-hot choices (N, G, V), differentiable in training."""
        if not self.training:
            return functional.one_hot(logits.argmax(dim=-1), self.entries).to(logits.dtype)
        noise = -torch.empty_like(logits).exponential_().clamp(min=TINY).log()
        soft = ((logits + noise) / self.temperature).softmax(dim=-1)
        hard = functional.one_hot(soft.argmax(dim=-1), self.entries).to(soft.dtype)
        return hard + (soft - soft.detach())


def perplexity(shares: Tensor) -> Tensor:
    """Give the perplexity of distributions (…, V): V where all are equal, 1 where one has all."""
    entropy = -(shares * (shares + TINY).log()).sum(dim=-1)  # a share of 0 has a gradient too
    return entropy.exp()


def temperature_at(update: int, steps: int, temperatures: Sequence[float]) -> float:
    """Give the Gumbel softmax's temperature: falls by a factor per update, then stays.

    Args:
        update: counted from 1.
        steps: updates of the whole run.
        temperatures: first and last.
    """
    first, last = temperatures
    progress = min(1.0, (update - 1) / max(1.0, ANNEALED * steps))
    return float(first * (last / first) ** progress)
