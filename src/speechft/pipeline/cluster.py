"""What clusters have in common, behind the interface of `concurrent.futures`."""

from __future__ import annotations

from concurrent.futures import Executor
from types import TracebackType
from typing import ClassVar


class ClusterExecutor(Executor):
    """A cluster, which says itself how many jobs run at a time.

    Whoever leaves it with an exception does not wait for its jobs.
    """

    workers: ClassVar[int] = 1 << 20

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown(wait=error is None)
