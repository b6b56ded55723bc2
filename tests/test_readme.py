"""The README's blocks, run in an empty folder on tiny sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import CONFIG, ROOT, blocks, fill, smaller

README = ROOT / "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with a stand-in for the packaged encoder, and the table of the README."""
    (table,) = blocks(README, "csv")
    return fill(tmp_path_factory.mktemp("readme"), table)


def execute(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(blocks(README, "bash"))))
def test_shell_block(folder: Path, number: int) -> None:
    execute(["bash", "-euc", smaller(blocks(README, "bash")[number])], folder)
    made = {
        0: "runs/report/report.html",
        1: "runs/demo/report.html",
        2: "runs/asr/encoder/config.json",
    }
    assert (folder / made[number]).is_file()


@pytest.mark.slow
def test_python_block(folder: Path) -> None:
    (block,) = map(smaller, blocks(README, "python"))
    said = execute([sys.executable, "-c", block], folder)
    layers, shape, lengths = re.fullmatch(r"(\d+) (.*\]\)) (.*)\n(?s:.*)", said).groups()  # type: ignore[union-attr]
    assert int(layers) == CONFIG["num_hidden_layers"] + 1
    assert shape == "torch.Size([2, 74, 16])"
    assert lengths == "tensor([49, 74])"
    assert (folder / "runs/sid-merged/model.safetensors").is_file()
