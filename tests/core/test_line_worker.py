from __future__ import annotations

from speechft.core.line_worker import _visible


def test_a_worker_sees_its_gpu_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5")
    assert [_visible(n) for n in (0, 1)] == ["2", "GPU-5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert _visible(1) == "1"
