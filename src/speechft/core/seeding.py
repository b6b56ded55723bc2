"""Random generators, the only sources of chance.

One seed per run, and independent streams are derived from it by name.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from speechft.core.registry import deferred

if TYPE_CHECKING:
    import torch
else:
    torch = deferred("torch")


def derive_seed(seed: int, *names: object) -> int:
    """Give a seed in [0, 2^31) that depends on `seed` and the names, the same on every machine."""
    text = "/".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """Give a CPU generator for the stream that the names stand for."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


def numpy_generator(seed: int, *names: object) -> np.random.Generator:
    """Give a NumPy generator for the stream that the names stand for."""
    return np.random.default_rng(derive_seed(seed, *names))


@contextmanager
def seeded(seed: int | None, device: torch.device | str) -> Iterator[None]:
    """Seed torch's global generators for one block and put back those in use.

    Args:
        seed: none leaves them alone.
        device: whose generator is put back besides the CPU's.
    """
    gpus = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(gpus, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        yield
