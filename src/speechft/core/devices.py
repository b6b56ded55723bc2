"""What computes: the device by its name, and how many threads; figures depend on both."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil
from threadpoolctl import threadpool_limits

from speechft.core.errors import SettingsError
from speechft.core.logging import get_logger
from speechft.core.registry import deferred

if TYPE_CHECKING:
    import torch
else:
    torch = deferred("torch")

_logger = get_logger(__name__)
_in_use: list[torch.device] = []
_WORTH_IT = 2**30
"""Bytes that a process holds, from which on memory that lies free is given back."""


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


def _capabilities() -> dict[str, Any]:
    """Give what torch knows of the processor; nothing where its version does not tell."""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return known


@cache
def has_matrix_units() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 in units of its own (AMX)."""
    return bool(_capabilities().get("amx_bf16"))


@cache
def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Tell whether a processor or GPU computes in bfloat16 itself; if that is not known, it does.

    By default torch says so of GPUs before NVIDIA's Ampere, too, which only emulate it.

    Args:
        device: "cpu", a GPU by its number, or "cuda", which stands for torch's current GPU.
    """
    device = torch.device(device)
    if device.type == "cuda":
        other = device.index not in (None, torch.cuda.current_device())
        with torch.cuda.device(device) if other else nullcontext():
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    known = _capabilities()
    x86 = known.get("architecture") == "x86_64"
    return not x86 or bool(known.get("avx512_bf16") or known.get("amx_bf16"))


@cache
def _say_float32(device_type: str) -> None:
    name = "processor" if device_type == "cpu" else "GPU"
    _logger.warning(
        f"this {name} does not compute in bfloat16 itself, and emulating it takes many times as "
        "long as float32: what was to be bfloat16 is computed in float32, which is more exact"
    )


def bfloat16_where_wanted(device: torch.device, wanted: bool) -> torch.autocast:
    """Give the context in which an encoder computes in bfloat16, or in float32.

    Args:
        device: that it computes on.
        wanted: whether bfloat16 is asked for. A processor or GPU that only emulates it computes
            in float32 all the same, and a warning says so, once.
    """
    if wanted and device.type in ("cpu", "cuda") and not has_bfloat16(device):
        _say_float32(device.type)
        wanted = False
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library than glibc
        return None
    return trim


def give_back_holes(device: torch.device) -> None:
    """Give the operating system back the memory that lies free between tensors on a CPU.

    A forward pass leaves holes between what it keeps for the backward pass, and glibc fills few of
    them again: without this, the backward pass at Base size takes some 150 MB more. It takes a
    hundredth of a second, and pages that are needed again take more: a tenth of the update of a
    small encoder, so nothing is done below 1 GiB. Nor is it for a GPU, whose memory torch manages
    itself, nor where the C library is not glibc.
    """
    trim = _malloc_trim() if device.type == "cpu" else None
    if trim is not None and psutil.Process().memory_info().rss >= _WORTH_IT:
        trim(0)


def usable_device(name: str) -> torch.device:
    """Give a device on which something can be computed.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto".

    Raises:
        SettingsError: there is none of this name, or it cannot be used here.
    """
    compute_exactly()
    try:
        device = torch.device(named_device(name))
        torch.ones(1, device=device).item()  # this torch may have no kernels for an old GPU
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            "this device cannot be used",
            where="device",
            found=f"{name} ({str(error).strip().partition(chr(10))[0][:100]})",
            expected="auto, cpu, cuda or cuda:N",
            hint="where several processes work, each sees one GPU, whatever its number: say cuda"
            if torch.cuda.device_count() == 1 and ":" in name
            else None,
        ) from None
    note_device(device)
    return device


def note_device(device: torch.device | str) -> None:
    """Note on which device this process computes from now on, for records."""
    _in_use[:] = [torch.device(device)]


def gpu_in_use() -> str:
    """Name the GPU that was noted last, or torch's current one; empty where there is none."""
    (device,) = _in_use or [torch.device("cuda")]
    begun: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call, unused-ignore]
    if device.type != "cuda" or not begun:
        return ""
    return str(torch.cuda.get_device_name(device))


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


def compute_alone() -> None:
    """Let the thread that calls this compute by itself, without threads of torch's beside it.

    GNU's OpenMP keeps a team for every thread that has computed. With more threads in all of them
    than there are processors, it lets every thread of them sleep after each operation, which makes
    updates on two processors half as slow again as long as that thread lives.
    """
    torch.get_num_threads()  # which torch sets when a thread first computes
    threadpool_limits(1, user_api="openmp")
