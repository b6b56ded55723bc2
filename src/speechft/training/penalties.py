"""Penalties that hold the weights near the pre-trained ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter


class L2SP:
    """L2-SP: strength / 2 · ‖θ − θ0‖², over the encoder's moving parameters.

    Source: Li, Grandvalet and Davoine 2018, "Explicit Inductive Bias for Transfer Learning".

    Args:
        parameters: the encoder's parameters by name; their present values are θ0.
        strength: weight of the penalty.
    """

    def __init__(self, parameters: Mapping[str, Parameter], strength: float) -> None:
        self.strength = strength
        self._parameters = dict(parameters)
        self._start = {n: p.detach().clone() for n, p in parameters.items()}

    def __call__(self) -> Tensor:
        """Give the penalty as a scalar."""
        moving = [(n, p) for n, p in self._parameters.items() if p.requires_grad]
        if not moving:
            return torch.zeros(())
        squares = [(p - self._at(n, p.device)).square().sum() for n, p in moving]
        return self.strength / 2 * torch.stack(squares).sum()

    def _at(self, name: str, device: torch.device) -> Tensor:
        """Give a parameter of θ0 where the parameter itself has gone, copied once."""
        self._start[name] = self._start[name].to(device)
        return self._start[name]
