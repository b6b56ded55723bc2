"""What tests of jobs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_slurm import make_slurm
from matplotlib.figure import Figure


@pytest.fixture
def empty_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made whole and written empty: writing takes as long as a small recipe's jobs."""
    write = Figure.savefig

    def savefig(_: Figure, *args: Any, **kwargs: Any) -> None:
        write(Figure(figsize=(1, 1)), *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM of this machine; gives the folder where it notes its jobs."""
    commands = make_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path / "slurm"
