"""Averages of the weights over the updates of a run, as further encoders that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from speechft.training.schedule import share_of


class Average:
    """A running average of a module's parameters.

    Args:
        name: of it.
        share: gives an update's share in the average, by its number (counted from 1); as long as
            it gives 0 there is no average.
    """

    def __init__(self, name: str, share: Callable[[int], float]) -> None:
        self.name, self._share = name, share
        self.values: dict[str, Tensor] = {}

    @torch.no_grad()
    def take(self, module: nn.Module, update: int) -> None:
        """Let the parameters after an update count."""
        share = self._share(update)
        if share == 0:
            return
        for name, parameter in module.named_parameters():
            value = self.values.get(name)
            if value is None:
                self.values[name] = parameter.detach().clone()
            else:  # it is on the CPU where a state has just been read
                self.values[name] = value.to(parameter.device).lerp_(parameter, share)

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """Let the module have the averages while the block runs."""
        own = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        _copy(self.values, module)
        try:
            yield
        finally:
            _copy(own, module)


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        parameter.copy_(values[name])


def exponential(decay: float) -> Callable[[int], float]:
    """Give the shares of an exponential average.

    The decay rises to its value, as (1 + n) / (10 + n), so that the weights that a run begins with
    do not count for long: TensorFlow's rule for moving averages of weights.
    """
    return lambda update: 1 - min(decay, (1 + update) / (10 + update))


def over_the_last(part: float, total: int) -> Callable[[int], float]:
    """Give the shares of the plain mean over the last part of `total` updates."""
    before = total - share_of(total, part)
    return lambda update: 1 / (update - before) if update > before else 0.0
