"""Provenance: with which versions, and on which processor, an artefact was made."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from pathlib import Path

from speechft._version import __version__

_KINDS = {"family": "cpu family", "model": "model"}


def versions() -> dict[str, str]:
    """Give the versions of Python, of this package and of the libraries that shape results."""
    result = {"python": platform.python_version(), "speechft": __version__}
    for name in ("torch", "transformers", "lhotse", "numpy"):
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return result


def processor() -> str:
    """Name the processor, and the GPU in use if any: the last bits of results depend on both."""
    gpu = _gpu()
    return f"{gpu}, {_cpu()}" if gpu else _cpu()


def _gpu() -> str:
    """Name the GPU that this process computes on; it is never asked for here."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return ""
    return str(torch.cuda.get_device_name())


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    said = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
    name = said.get("model name") or platform.processor() or platform.machine()
    kind = [f"{key} {said[long]}" for key, long in _KINDS.items() if said.get(long, "-").isdigit()]
    return f"{name} ({', '.join(kind)})" if kind else name
