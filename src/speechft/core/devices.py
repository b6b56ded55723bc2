"""Devices by name."""

from __future__ import annotations

import torch

from speechft.core.errors import SettingsError


def usable_device(name: str) -> torch.device:
    """Give a device on which a tensor can be made.

    Raises:
        SettingsError: there is none of this name, or it cannot be used here.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(
            "this device cannot be used",
            where="device",
            found=f"{name} ({str(error).strip().partition(chr(10))[0][:100]})",
            expected="cpu, cuda or cuda:N",
        ) from None
    return device
