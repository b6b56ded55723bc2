"""Probes of several learning rates trained side by side: stacked parameters, one optimiser."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from speechft.heads.linear import WeightedSum

Parameters = dict[str, Tensor]


class Probe(nn.Module):
    """Softmax-weighted sum of the hidden states, then a head.

    Args:
        num_states: K.
        head: called with (x, lengths).
        augment: called with (x, lengths) between the two, in training.
    """

    def __init__(self, num_states: int, head: nn.Module, augment: nn.Module | None = None) -> None:
        super().__init__()
        self.weighted_sum = WeightedSum(num_states)
        self.augment = augment
        self.head = head

    def forward(self, states: Tensor, lengths: Tensor | None) -> Tensor:
        """Give the head's logits for states (K, B, T, D) with lengths, or (K, B, D) and None."""
        x = self.weighted_sum(states)
        if self.augment is not None and self.training:
            x = self.augment(x, lengths)
        logits: Tensor = self.head(x, lengths)
        return logits


def can_stack(module: nn.Module) -> bool:
    """Tell whether R copies of a module can run as one batched computation.

    Recurrent layers have no batched form over their weights, dropout would draw one mask for all
    copies or another one for each, depending on the grid, and convolutions over time are as quick
    one by one.
    """
    alone = nn.RNNBase | nn.Dropout | nn.Conv1d
    return not any(isinstance(part, alone) for part in module.modules())


class ProbeStack:
    """R copies of a probe, each with its own learning rate, that see the same batches.

    All start from the same weights. Each copy is trained with Adam (betas 0.9, 0.999, eps 1e-8) and
    has its own gradient norm clipped; the copies do not influence each other. An update with a
    gradient that is not finite is skipped for that copy and counted in `skipped`.

    Args:
        probe: the weights to start from.
        rates: the learning rates; several only if `can_stack(probe)`.
        clip: largest gradient norm.
        weight_decay: share of the rate by which weights shrink at each update, as in AdamW.
    """

    def __init__(
        self,
        probe: Probe,
        rates: Sequence[float],
        clip: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.module = probe
        self.rates = list(rates)
        self.clip = clip
        self.weight_decay = weight_decay
        self._gradients: list[Tensor] | None = None
        self.parameters: Parameters = {
            name: p.detach().expand(len(self.rates), *p.shape).clone().requires_grad_()
            for name, p in probe.named_parameters()
        }
        self.skipped = [0] * len(self.rates)
        device = next(iter(self.parameters.values())).device
        self._rates = torch.tensor(self.rates, device=device)
        self._updates = torch.zeros(len(self.rates), device=device)
        self._first = [torch.zeros_like(p) for p in self.parameters.values()]
        self._second = [torch.zeros_like(p) for p in self.parameters.values()]

    def logits(self, states: Tensor, lengths: Tensor | None, *, train: bool = False) -> Tensor:
        """Give the logits of every copy: (R, B, ...)."""
        self.module.train(train)
        if len(self.rates) == 1:
            alone = {name: p.squeeze(0) for name, p in self.parameters.items()}
            return self._call(alone, states, lengths)[None]

        def one(parameters: Parameters) -> Tensor:
            return self._call(parameters, states, lengths)

        stacked: Tensor = torch.vmap(one)(self.parameters)
        return stacked

    def update(self, losses: Tensor, factor: float = 1.0) -> None:
        """Do one update of every copy from their losses (R,), at `factor` times their rates."""
        self.add_gradients(losses)
        self.step(factor)

    def add_gradients(self, losses: Tensor) -> None:
        """Add the gradients of the copies' losses (R,) to those of the coming update."""
        found = list(torch.autograd.grad(losses.sum(), list(self.parameters.values())))
        if self._gradients is None:
            self._gradients = found
        else:
            self._gradients = [a + b for a, b in zip(self._gradients, found, strict=True)]

    def step(self, factor: float = 1.0) -> None:
        """Do one update of every copy with the gradients so far, at `factor` times their rates."""
        gradients, self._gradients = self._gradients or [], None
        with torch.no_grad():
            squares = [g.flatten(1).square().sum(dim=1) for g in gradients]
            norm = torch.stack(squares).sum(dim=0).sqrt()
            good = torch.isfinite(norm)
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            if bool(good.all()):
                self._adam(gradients, scale, factor)
            else:
                self._adam_where(gradients, scale, factor, good)

    def weights(self, copy: int) -> Parameters:
        """Give a copy's weights under the probe's own names."""
        return {name: p[copy].detach().clone() for name, p in self.parameters.items()}

    def _call(self, parameters: Parameters, states: Tensor, lengths: Tensor | None) -> Tensor:
        result: Tensor = functional_call(self.module, parameters, (states, lengths))
        return result

    def _adam_where(
        self, gradients: list[Tensor], scale: Tensor, factor: float, good: Tensor
    ) -> None:
        """Update the copies whose gradient is finite and leave the others as they are."""
        bad = torch.nonzero(~good).flatten().tolist()
        kept = [self.parameters.values(), self._first, self._second, [self._updates]]
        tensors = [tensor for group in kept for tensor in group]
        before = [tensor.detach()[bad].clone() for tensor in tensors]
        self._adam(gradients, scale, factor)
        for tensor, old in zip(tensors, before, strict=True):
            tensor[bad] = old
        for copy in bad:
            self.skipped[copy] += 1

    def _adam(self, gradients: list[Tensor], scale: Tensor, factor: float) -> None:
        self._updates += 1
        step_size = factor * self._rates / (1 - 0.9**self._updates)
        root = (1 - 0.999**self._updates).sqrt()
        moments = zip(self.parameters.values(), gradients, self._first, self._second, strict=True)
        for parameter, gradient, first, second in moments:
            shape = (-1, *[1] * (parameter.dim() - 1))
            gradient = gradient * scale.view(shape)
            if self.weight_decay:
                parameter.mul_(1 - self.weight_decay * factor * self._rates.view(shape))
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            denominator = second.sqrt().div_(root.view(shape)).add_(1e-8)
            parameter.sub_(denominator.reciprocal_().mul_(first).mul_(step_size.view(shape)))
