from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speechft.core.errors import SettingsError
from speechft.core.locks import lock_if_free, work_alone

HOLD = """
import sys, pathlib
from speechft.core.locks import lock_if_free
with lock_if_free(pathlib.Path(sys.argv[1])) as free:
    print(free, flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_lock_has_one_holder_and_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = holder(path)
    with lock_if_free(path) as free:
        assert not free
    with pytest.raises(SettingsError, match="another speechft"), work_alone(tmp_path):
        pass
    process.kill()
    process.communicate()
    with lock_if_free(path) as free:
        assert free
