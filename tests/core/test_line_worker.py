from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechft.core.line_worker import LineWorker, _visible


def test_a_worker_sees_its_gpu_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-5")
    assert [_visible(n) for n in (0, 1)] == ["2", "GPU-5"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert _visible(1) == "1"


def test_a_worker_whose_parent_is_gone_before_it_looked_ends(tmp_path):
    """It still imports when it becomes an orphan: its parent is then another process already."""
    late = (
        "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(1)\n"
        "from speechft.core.line_worker import end_as_orphan\n"
        "end_as_orphan(); time.sleep(60)\n"
    )
    (tmp_path / "late_worker.py").write_text(late)
    mark = tmp_path / "pid"
    code = (
        "import os, pathlib, sys, time\n"
        "from speechft.core.line_worker import LineWorker\n"
        "mark = pathlib.Path(sys.argv[1]); LineWorker('late_worker', [str(mark)], 1)\n"
        "while not (mark.is_file() and mark.read_text()): time.sleep(0.01)\n"
        "os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code, str(mark)], env=environment, check=True)
    pid = int(mark.read_text())
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid)


@pytest.mark.parametrize("killed", [False, True])
def test_a_closed_worker_leaves_no_file_open(tmp_path, monkeypatch, killed):
    (tmp_path / "echoing.py").write_text(
        "import sys\nfor line in sys.stdin: print('{}', flush=True)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    worker = LineWorker("echoing", [], 1)
    assert worker.ask("x") == {}
    if killed:
        worker.kill()
    assert (worker.close() == 0) is not killed
    process = worker._process
    assert process.stdin.closed
    assert process.stdout.closed


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody may be there to bury it
