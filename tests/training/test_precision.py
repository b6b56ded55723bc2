from __future__ import annotations

import logging

import pytest
import torch

from speechft.training.precision import autocast, warn_if_slow

PLAIN = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}


@pytest.mark.parametrize(
    ("precision", "device", "known", "warned"),
    [
        ("bf16", "cpu", PLAIN, True),
        ("no", "cpu", PLAIN, False),
        ("auto", "cpu", PLAIN, False),
        ("bf16", "cuda", PLAIN, False),
        ("bf16", "cpu", {**PLAIN, "amx_bf16": True}, False),
        ("bf16", "cpu", {**PLAIN, "avx512_bf16": True}, False),
        ("bf16", "cpu", {"architecture": "aarch64"}, False),
    ],
)
def test_emulated_bf16_is_said(precision, device, known, warned, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    with caplog.at_level(logging.WARNING):
        warn_if_slow(precision, device)
    assert bool(caplog.records) is warned


def test_a_torch_that_does_not_tell(monkeypatch, caplog):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    warn_if_slow("bf16", "cpu")
    assert not caplog.records


def test_auto_is_float32_on_a_cpu():
    with autocast("auto", "cpu"):
        assert torch.is_autocast_enabled("cpu") is False
    with autocast("bf16", "cpu"):
        assert torch.is_autocast_enabled("cpu") is True
