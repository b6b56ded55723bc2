"""Jobs on a cluster of dask.distributed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.extras import pip_install
from speechft.pipeline.cluster import ClusterExecutor

T = TypeVar("T")
_one_at_a_time = threading.Lock()


class DaskExecutor(ClusterExecutor):
    """A cluster of dask.distributed; each of its workers does one job at a time.

    dask itself gives the job of a worker that died to another one.

    Args:
        address: of the cluster's scheduler.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise SettingsError(
                "launcher dask needs the package distributed",
                hint=pip_install("distributed"),
            ) from None
        if not address:
            raise SettingsError(
                "launcher dask needs to know the cluster",
                expected="the address of its scheduler",
                hint="--set dask.address=tcp://HOST:8786",
            )
        try:
            self._client = Client(address, timeout=30, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SettingsError(
                "there is no dask cluster", where=address, found=str(error).partition("\n")[0]
            ) from None
        self._executor: Executor = self._client.get_executor(pure=False)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Let the cluster call a function of an importable module."""
        return self._executor.submit(_do_alone, os.getcwd(), partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster."""
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def _do_alone(folder: str, call: Callable[[], T]) -> T:
    """Run in a worker of a cluster, whose threads share a process; jobs need one of their own."""
    with _one_at_a_time:
        os.chdir(folder)
        return call()
