"""Tensors that lie in pieces in all processes (torch's DTensor), and whole ones beside them.

What is asked of a tensor in pieces is asked by all processes together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


def is_piece(tensor: Tensor) -> bool:
    """Tell whether a tensor lies in pieces; its class costs much to import, and is not named."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Give all of a tensor."""
    found: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return found


def own(tensor: Tensor) -> Tensor:
    """Give what this process keeps of a tensor."""
    found: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return found


def piece_of(tensor: Tensor, like: Any) -> Tensor:
    """Give a whole tensor, which all processes have, in pieces where `like` is."""
    if not is_piece(like) or is_piece(tensor):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    there = tensor.to(like.device, like.dtype)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], most: float) -> float:
    """Scale gradients down to a global norm, those in pieces and others together; give the norm."""
    moving = [p for p in parameters if p.grad is not None]
    kinds = [[p for p in moving if is_piece(p) == apart] for apart in (False, True)]
    kinds = [kind for kind in kinds if kind]
    if not kinds:
        return 0.0
    norms = [
        whole(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None]))
        for kind in kinds
    ]
    total = norms[0] if len(norms) == 1 else torch.stack(norms).norm()
    for kind in kinds:
        nn.utils.clip_grads_with_norm_(kind, most, total)
    return float(total)
