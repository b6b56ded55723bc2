"""The notebooks run, on tiny sizes, cell by cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import ROOT, fill, smaller

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_run(path: Path, tmp_path: Path) -> None:
    fill(tmp_path, "audio\n")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [
        smaller("".join(cell["source"]))
        for cell in cells
        if cell["cell_type"] == "code" and "setup" not in cell["metadata"].get("tags", [])
    ]
    assert code
    assert all(not cell.get("outputs") for cell in cells), "outputs are not kept"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "-"],
        cwd=tmp_path,
        env=environment,
        input="\n".join(code),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) >= 3
