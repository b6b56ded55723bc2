"""Sharpness-aware stage 1: the gradient is that at the worst point of a small ball (SAM)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.stateless import _reparametrize_module

from speechft.training.finetune.objective import FineTuning

RADIUS = 0.05


class Flat(FineTuning):
    """Fine-tuning whose loss is taken where it rises most, RADIUS away from the encoder's weights.

    Source: Foret et al. 2021, "Sharpness-aware minimization", without the head, which no merge has.
    """

    def loss(self, indices: Sequence[int], items: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        loss, figures = super().loss(indices, items)
        if not self.moving or not self.module.training:
            return loss, figures
        model = self.encoder.model
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        steps = {n: g for n, g in zip(named, found, strict=True) if g is not None}
        norm = torch.stack([g.square().sum() for g in steps.values()]).sum().sqrt()
        worst = {n: named[n] + RADIUS / (norm + 1e-12) * g for n, g in steps.items()}
        with _reparametrize_module(model, worst):
            return super().loss(indices, items)
