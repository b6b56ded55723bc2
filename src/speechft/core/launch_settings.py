"""Who does the jobs of a command: processes of this machine, SLURM, or a dask cluster."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from speechft.core.artifact import Neutral
from speechft.core.settings import Settings, apply_overrides, parse_settings

Launcher = Literal["local", "slurm", "dask"]


class DaskSettings(Settings):
    """Which dask cluster does the jobs.

    Args:
        address: of its scheduler, as `tcp://HOST:8786`.
    """

    address: str = ""


class LaunchSettings(Settings):
    """Who does the jobs; no result depends on it.

    Args:
        launcher: "local" for processes here; "slurm" submits jobs through submitit; "dask" gives
            them to a cluster of dask.distributed.
        workers: processes here; 0 for as many as pay.
        threads: of each process, where not every job has one.
        slurm: options of SLURM's jobs, such as partition, timeout_min, gpus_per_node, mem_gb.
        dask: the cluster.
    """

    launcher: Annotated[Launcher, Neutral] = "local"
    workers: Annotated[int, Neutral] = Field(default=0, ge=0)
    threads: int = Field(default=1, gt=0)
    slurm: Annotated[dict[str, str | int | float | bool], Neutral] = Field(default_factory=dict)
    dask: Annotated[DaskSettings, Neutral] = DaskSettings()


def read_launch(overrides: Sequence[str], **given: Any) -> tuple[LaunchSettings, list[str]]:
    """Take what a command line says of the launch out of its overrides.

    Args:
        overrides: `key=value`; those of `slurm.…`, `dask.…` and so on are for the launch.
        given: further settings of the launch.

    Returns:
        The launch, and all other overrides.

    Raises:
        SettingsError: a setting of the launch is unknown or wrong.
    """
    own = [one for one in overrides if re.split("[.=]", one)[0] in LaunchSettings.model_fields]
    values = apply_overrides({"slurm": {}, "dask": {}, **given}, own)
    rest = [one for one in overrides if one not in own]
    return parse_settings(LaunchSettings, values, where="--set" if own else "launcher"), rest
