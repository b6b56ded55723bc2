"""Orders to kill processes hard in the middle of their work, see `killing/sitecustomize`."""

from __future__ import annotations

import hashlib
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import submitit
from fake_slurm import make_slurm

from speechft.core.launch_settings import LaunchSettings

KILLING = Path(__file__).with_name("killing")
faults = pytest.mark.skipif(
    not os.environ.get("SPEECHFT_FAULTS"), reason="takes minutes: make faults does it"
)


def order_kills(folder: Path, patterns: Iterable[str], patch: pytest.MonkeyPatch) -> Path:
    """Let a process be killed as it moves something to a path of a pattern, once for each."""
    folder.mkdir()
    for number, pattern in enumerate(patterns):
        (folder / str(number)).write_text(pattern)
    patch.setenv("SPEECHFT_TEST_KILLS", str(folder))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(KILLING), os.environ.get("PYTHONPATH", "")]))
    return folder


def results_of(out: Path) -> dict[str, str]:
    """Hash what must not depend on how often work was stopped, and where it was done."""
    files = [p for p in out.rglob("*") if p.is_file() and not {"cells", "checkpoints"} & {*p.parts}]
    names = ("results.jsonl", "encoders.json", "run.json")
    kept = [p for p in files if p.suffix == ".safetensors" or p.name in names]
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


def start_fork(call: Callable[[], object]) -> int:
    """Do something in a fork of this process, which has imported all that takes long."""
    child = os.fork()
    if child == 0:
        try:
            runpy.run_path(str(KILLING / "sitecustomize.py"))
            call()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    return child


def is_killed(call: Callable[[], object]) -> bool:
    """Do something in a fork of this process; say whether it was killed there."""
    _, status = os.waitpid(start_fork(call), 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@contextmanager
def backend(launcher: str, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[LaunchSettings]:
    """Let a process of this machine do the jobs, or a SLURM or a dask cluster on it."""
    if launcher == "slurm":
        commands = make_slurm(folder / "slurm")
        patch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), *sys.path]))
        patch.setattr(submitit.Job, "_results_timeout_s", 1)
    if launcher != "dask":
        yield LaunchSettings(launcher=launcher, workers=1)  # type: ignore[arg-type]
        return
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        dask = {"address": cluster.scheduler_address}
        yield LaunchSettings.model_validate({"launcher": launcher, "dask": dask})
