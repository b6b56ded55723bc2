"""A merge that is killed, or that runs out of disk, leaves nothing half done under a final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from speechft.core.errors import SpeechFTError
from speechft.core.files import remove_leftovers
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.merging.tensorfile import TensorFileWriter


def folder(path: Path, seed: int, rows: int = 200) -> Path:
    path.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    state = {
        f"encoder.layers.{i}.x.weight": generator.standard_normal((rows, 400), dtype=np.float32)
        for i in range(12)
    }
    save_file(state, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({"architectures": ["HubertModel"]}))
    (path / "preprocessor_config.json").write_text('{"do_normalize": true}')
    return path


# Moments are counted: just before and just after a tensor is written, a file is flushed or anything
# is moved. Each merge is a new fork, so no import time is wasted; it ends itself at its last moment
# or says with its exit code how many there were. Hashes are not remembered: that is done once, when
# the files are two seconds old, and is moments too.
CHILD = """
import os, signal, sys
from pathlib import Path
from speechft.core import files, known_hashes
from speechft.merging.tensorfile import TensorFileWriter
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge

moments = last = 0
known_hashes.SETTLED_NS = 1 << 62

def moment():
    global moments
    moments += 1
    if moments == last:
        os.kill(os.getpid(), signal.SIGKILL)

def watch(owner, name):
    function = getattr(owner, name)
    def watched(*args, **named):
        moment()
        found = function(*args, **named)
        moment()
        return found
    setattr(owner, name, watched)

for owner, name in (
    (TensorFileWriter, "write"), (files, "flush"), (Path, "replace"), (Path, "unlink"),
    (files.shutil, "rmtree"), (files.tempfile, "mkdtemp"), (Path, "rmdir"),
):
    watch(owner, name)
base, tuned, out = sys.argv[1:]
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        alpha, last = line.split()
        last = int(last)
        merge(MergeSettings(base=base, tuned=(tuned,), alpha=alpha, out=Path(out), threads=1))
        os._exit(moments)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def test_sigkill_at_any_moment(tmp_path: Path):
    base, tuned = folder(tmp_path / "base", 1, rows=20), folder(tmp_path / "tuned", 2, rows=20)
    out = tmp_path / "place" / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(base), str(tuned), str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    states = [load_file(p / "model.safetensors") for p in (base, tuned)]

    def run(alpha: float, last: int = 0) -> int:
        child.stdin.write(f"{alpha} {last}\n")
        return int(child.stdout.readline())

    try:
        assert run(0.25) > 2 * 12
        (out / "notes.txt").write_text("mine")
        moments = run(0.5)  # in the place of an older one
        check(out, states, {0.5})
        before, undone, ended = 0.5, 0, 0
        for last in range(1, moments + 1):
            assert run((2 * last + 1) / 512, last) == -signal.SIGKILL
            check(out, states, {before, (2 * last + 1) / 512})
            remove_leftovers(out)  # as the next call does
            assert sorted(p.name for p in out.parent.iterdir()) == ["out"]
            found = check(out, states, {before, (2 * last + 1) / 512})
            assert found is not None
            undone, ended = undone + (found == before), ended + (found != before)
            before = found
        assert undone > 12
        assert ended > 3
        assert (out / "notes.txt").read_text() == "mine"
        assert run(0.75) == moments
        check(out, states, {0.75})
    finally:
        child.stdin.close()
        child.wait(timeout=30)
        child.stdout.close()


def check(out: Path, states: list[dict[str, np.ndarray]], alphas: set[float]) -> float | None:
    """Give the alpha of the whole merge that is there; None where it does not say it is whole.

    Weights are never there without all that belongs to them, and never half written.
    """
    names = {p.name for p in out.iterdir() if not p.name.startswith(".")} if out.exists() else set()
    merged = load_file(out / "model.safetensors") if "model.safetensors" in names else None
    if "speechft.json" not in names:
        return None
    whole = {"README.md", "config.json", "heard.gz", "model.safetensors"}
    whole.add("preprocessor_config.json")
    assert names - {"notes.txt"} == {*whole, "speechft.json"}
    alpha = float(json.loads((out / "speechft.json").read_text())["alpha"])
    assert alpha in alphas
    for name, base in states[0].items():
        expected = base + np.float32(alpha) * (states[1][name] - base)
        np.testing.assert_array_equal(merged[name], expected)
    return alpha


@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_a_failing_writer_leaves_the_last_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
):
    base, tuned = folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)
    states = [load_file(p / "model.safetensors") for p in (base, tuned)]
    out = tmp_path / "place" / "out"
    calls = 0
    write = TensorFileWriter.write

    def failing(self: TensorFileWriter, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, *arguments)

    settings = MergeSettings(base=base, tuned=(tuned,), alpha=0.25, out=out)
    for earlier in (False, True):
        if earlier:
            merge(settings)
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(TensorFileWriter, "write", failing)
            with pytest.raises(SpeechFTError, match="disk is full"):
                merge(settings.model_copy(update={"alpha": 0.75}))
        assert out.exists() == earlier
        check(out, states, {0.25})
        assert [p.name for p in out.parent.iterdir()] == (["out"] if earlier else [])


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs a mount")
def test_a_full_file_system(tmp_path: Path):
    base, tuned = folder(tmp_path / "base", 1), folder(tmp_path / "tuned", 2)
    states = [load_file(p / "model.safetensors") for p in (base, tuned)]
    small = tmp_path / "small"
    small.mkdir()
    size = (base / "model.safetensors").stat().st_size
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size + size // 2}", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        out = small / "out"
        settings = MergeSettings(base=base, tuned=(tuned,), alpha=0.25, out=out)
        merge(settings)
        with pytest.raises(SpeechFTError, match="disk is full") as caught:
            merge(settings.model_copy(update={"alpha": 0.75}))
        assert caught.value.exit_code == 1
        check(out, states, {0.25})
        assert [p.name for p in small.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
