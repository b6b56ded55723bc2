"""Devices by name."""

from __future__ import annotations

import torch

from speechft.core.errors import SettingsError


def named_device(name: str) -> str:
    """Give the name that "auto" stands for: a GPU's where there is one; others as they are."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def usable_device(name: str) -> torch.device:
    """Give a device on which a tensor can be made.

    Args:
        name: "cpu", "cuda", "cuda:N", or "auto".

    Raises:
        SettingsError: there is none of this name, or it cannot be used here.
    """
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
