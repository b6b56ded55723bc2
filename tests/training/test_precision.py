from __future__ import annotations

import logging

import pytest
import torch
from pretend_gpu import pretend_gpu

from speechft.core import devices
from speechft.training.precision import autocast

PLAIN = {"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture
def processor(monkeypatch):
    """Give a function that says what the processor has, as torch would tell."""

    def has(known):
        devices.has_bfloat16.cache_clear()
        devices._say_float32.cache_clear()
        if known is None:
            monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
        else:
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)

    yield has
    devices.has_bfloat16.cache_clear()
    devices._say_float32.cache_clear()


@pytest.mark.parametrize(
    ("precision", "known", "half"),
    [
        ("bf16", PLAIN, False),
        ("bf16", {**PLAIN, "amx_bf16": True}, True),
        ("bf16", {**PLAIN, "avx512_bf16": True}, True),
        ("bf16", {"architecture": "aarch64"}, True),
        ("bf16", None, True),  # an older torch does not tell
        ("no", PLAIN, False),
        ("auto", PLAIN, False),
        ("auto", {**PLAIN, "amx_bf16": True}, False),  # bf16 by itself only on a GPU
    ],
)
def test_emulated_bf16_is_float32_and_said_once(precision, known, half, processor, caplog):
    processor(known)
    layer, x = torch.nn.Linear(8, 4), torch.randn(3, 8)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with autocast(precision, torch.device("cpu")):
                result = layer(x)
    assert result.dtype == (torch.bfloat16 if half else torch.float32)
    emulated = precision == "bf16" and known is PLAIN
    assert len(caplog.records) == emulated


@pytest.mark.parametrize("precision", ["auto", "bf16", "no"])
@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_that_emulates_bf16_computes_in_float32(precision, native, processor, caplog):
    processor(PLAIN)
    with pretend_gpu(), pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(  # torch says yes of a T4 or V100, too, unless it is told not to
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: native | including_emulation,
        )
        layer, x = torch.nn.Linear(8, 4).cuda(), torch.randn(3, 8).cuda()
        with autocast(precision, torch.device("cuda")):
            result = layer(x)
    half = native and precision != "no"
    assert result.dtype == (torch.bfloat16 if half else torch.float32)
    said = [record for record in caplog.records if "this GPU" in record.message]
    assert len(said) == (precision == "bf16" and not native)
