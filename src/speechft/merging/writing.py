"""Write a planned merge as safetensors weights, whole or in shards, with a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from contextlib import ExitStack
from pathlib import Path

from speechft.core.files import write_json
from speechft.merging.engine import compute, steady, steps
from speechft.merging.planning import Plan
from speechft.merging.sources import INDEX, WEIGHTS
from speechft.merging.tensorfile import TensorFileWriter, TensorInfo

METADATA = {"format": "pt"}


def default_threads() -> int:
    """Give the number of threads that merging uses: the processors, at most four."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:
        count = os.cpu_count() or 1
    return max(1, min(4, count))


def write_weights(
    plan: Plan,
    folder: Path,
    pool: Executor,
    *,
    max_shard_bytes: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Compute and write the result's weights into a folder that the caller moves into place.

    Args:
        plan: the merge.
        folder: an existing temporary folder.
        pool: threads that the parts are computed on; the result does not depend on their number.
        max_shard_bytes: split the weights into files not larger than this.
        on_progress: called with the number of bytes written by each step, from any thread.

    Returns:
        The files written.
    """
    shards = split_shards(plan.outputs, max_shard_bytes)
    names = [WEIGHTS]
    if len(shards) > 1:
        names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
        weight_map = {t.name: n for n, shard in zip(names, shards, strict=True) for t in shard}
        index = {"metadata": {"total_size": plan.nbytes}, "weight_map": weight_map}
        write_json(folder / INDEX, index)
    with steady(plan.method), ExitStack() as stack:
        home: dict[str, TensorFileWriter] = {}
        for name, shard in zip(names, shards, strict=True):
            writer = stack.enter_context(TensorFileWriter(folder / name, shard, METADATA))
            home.update(dict.fromkeys((info.name for info in shard), writer))

        def step(index: int, start: int, stop: int) -> None:
            out = plan.outputs[index]
            stored = compute(plan, index, start, stop)
            home[out.name].write(out.name, start, stored)
            if on_progress is not None:
                on_progress(stored.nbytes)

        futures = [pool.submit(step, *part) for part in steps(plan)]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            wait(futures)
    return [folder / name for name in names]


def split_shards(tensors: Sequence[TensorInfo], max_bytes: int | None) -> list[list[TensorInfo]]:
    """Cut a list of tensors into runs that are not larger than `max_bytes` (one tensor may be)."""
    shards: list[list[TensorInfo]] = [[]]
    size = 0
    for info in tensors:
        if max_bytes is not None and shards[-1] and size + info.nbytes > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(info)
        size += info.nbytes
    return shards
