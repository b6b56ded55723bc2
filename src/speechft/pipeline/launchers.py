"""The three that do jobs, behind the interface of `concurrent.futures`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from speechft.core.launch_settings import LaunchSettings
from speechft.core.worker_processes import LocalExecutor
from speechft.pipeline.dask_cluster import DaskExecutor
from speechft.pipeline.slurm import SlurmExecutor

LOGS: Final = "jobs"


def start_workers(
    launch: LaunchSettings, out: Path, *, workers: int, threads: int, gpus: int = 0
) -> Workers:
    """Give what does the jobs, with its number of jobs at a time as `workers`.

    Args:
        launch: who does them.
        out: the command's folder; SLURM's files go to `jobs` in it.
        workers: processes, where they are of this machine.
        threads: of the numerical libraries of each.
        gpus: of this machine; each process sees one of them.

    Raises:
        SettingsError: a package, SLURM or the cluster is not there, or an option is wrong.
    """
    if launch.launcher == "slurm":
        return SlurmExecutor(out / LOGS, launch.slurm)
    if launch.launcher == "dask":
        return DaskExecutor(launch.dask.address)
    own = {"OMP_NUM_THREADS": str(threads)}
    seen = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    names = seen if any(seen) else [str(n) for n in range(gpus)]
    return LocalExecutor(
        [
            {**own, "CUDA_VISIBLE_DEVICES": names[n % gpus % len(names)]} if gpus else own
            for n in range(workers)
        ]
    )


Workers = LocalExecutor | SlurmExecutor | DaskExecutor
"""Whoever does jobs in other processes, as many at a time as `workers` says."""
