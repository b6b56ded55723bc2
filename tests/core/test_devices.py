"""What the processor has, and memory that goes back to the operating system."""

from __future__ import annotations

import platform

import psutil
import pytest
import torch

from speechft.core import devices
from speechft.core.devices import usable_device
from speechft.core.errors import SettingsError
from speechft.core.stopping import threads


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory is what it is about")
def test_holes_of_a_large_process_are_given_back(monkeypatch):
    held = [torch.ones(10_000) for _ in range(5_000)]
    process, cpu = psutil.Process(), torch.device("cpu")
    above = torch.ones(10_000)
    del held
    before = process.memory_info().rss
    devices.give_back_holes(torch.device("meta"))
    assert process.memory_info().rss > before - 20e6
    monkeypatch.setattr(devices, "_WORTH_IT", before + 2**30)
    devices.give_back_holes(cpu)  # a small process keeps them
    assert process.memory_info().rss > before - 20e6
    monkeypatch.setattr(devices, "_WORTH_IT", before // 2)
    devices.give_back_holes(cpu)
    assert process.memory_info().rss < before - 100e6
    assert float(above.sum()) == 10_000


def test_another_c_library_changes_nothing(monkeypatch):
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda _name: object())
    devices._malloc_trim.cache_clear()
    devices.give_back_holes(torch.device("cpu"))
    devices._malloc_trim.cache_clear()


def test_a_torch_that_does_not_say_has_no_matrix_units(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    devices.has_matrix_units.cache_clear()
    try:
        assert not devices.has_matrix_units()
    finally:
        devices.has_matrix_units.cache_clear()


@pytest.mark.parametrize("said", [{"amx_bf16": True}, {"avx512_bf16": True}, {}])
def test_matrix_units(said, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: said, raising=False)
    devices.has_matrix_units.cache_clear()
    try:
        assert devices.has_matrix_units() == ("amx_bf16" in said)
    finally:
        devices.has_matrix_units.cache_clear()


def test_a_thread_that_computes_alone_leaves_the_others_their_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads(1, first=devices.compute_alone) as pool:
            alone = pool.submit(torch.get_num_threads).result()
            total = pool.submit(lambda: float(torch.ones(1_000_000).sum())).result()
        assert (alone, torch.get_num_threads(), total) == (1, 2, 1e6)
    finally:
        torch.set_num_threads(before)


def test_a_device_without_kernels_is_refused():
    with pytest.raises(SettingsError, match="cannot be used"):
        usable_device("meta")  # tensors can be made there, and nothing computed


def test_the_second_gpu_where_a_process_sees_one_is_told_the_way(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        devices.usable_device("cuda:1")
    assert "say cuda" in str(caught.value.hint)
