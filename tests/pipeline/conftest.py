"""What tests of jobs share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fake_slurm import make_slurm


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM of this machine; gives the folder where it notes its jobs."""
    commands = make_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    return tmp_path / "slurm"
