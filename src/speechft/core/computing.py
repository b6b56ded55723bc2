"""What figures depend on beside their inputs: the device, threads, and random generators.

One seed per run, and independent streams are derived from it by name.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from speechft.core.errors import SettingsError


def named_device(name: str) -> str:
    """Give the name that "auto" stands for: a GPU's where there is one; others as they are."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


@cache
def compute_exactly() -> None:
    """Let cuDNN compute float32 in float32, and leave attention to other kernels, from now on.

    Called once in a process; further calls leave alone what has been set since.

    By default its convolutions and LSTMs round float32 to TF32, which moves hidden states by some
    1e-3 of their standard deviation. Its attention, which torch 2.11 prefers on some GPUs, gives
    no gradient for WavLM's position bias and rounds the dropout rate. Both hold for the process,
    since a block that puts the flags back would do so under the feet of other threads. Whoever
    wants TF32 sets `torch.backends.cudnn.allow_tf32` after the first encoder has been loaded.
    """
    with warnings.catch_warnings():  # later versions of torch deprecate the name that all know
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def usable_device(name: str) -> torch.device:
    """Give a device on which a tensor can be made.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto".

    Raises:
        SettingsError: there is none of this name, or it cannot be used here.
    """
    compute_exactly()
    try:
        device = torch.device(named_device(name))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            "this device cannot be used",
            where="device",
            found=f"{name} ({str(error).strip().partition(chr(10))[0][:100]})",
            expected="auto, cpu, cuda or cuda:N",
        ) from None
    return device


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Let numerical libraries use so many threads while the block runs, whatever they were told.

    Sums are put together from one part per thread, so that the number of threads shows in the last
    bits of a result, and training makes more of them.

    Args:
        count: threads of torch, and of NumPy's and SciPy's matrix libraries.
    """
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


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
