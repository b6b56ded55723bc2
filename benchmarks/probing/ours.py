"""Our side of `benchmarks/probe.py`: `speechft.evaluate`, with a clock at every update."""

from __future__ import annotations

import functools
import time
from itertools import pairwise
from typing import Any

import torch
from jobs import answer

from speechft.core.files import read_json, read_jsonl
from speechft.probing import cells
from speechft.probing.evaluate import evaluate
from speechft.probing.inputs import read_data
from speechft.probing.settings import EvaluateSettings


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One evaluation: every seed of one encoder on one task."""
    torch.set_num_threads(job["threads"])
    probes: list[list[tuple[float, float]]] = []
    plain = cells.probe

    @functools.wraps(plain)
    def clocked(*args: Any, **kwargs: Any) -> Any:
        stamps: list[tuple[float, float]] = []
        probes.append(stamps)
        tick = functools.partial(_tick, stamps)
        return plain(*args, **kwargs, on_step=tick)

    cells.probe = clocked
    begin = time.perf_counter()
    try:
        out = evaluate(EvaluateSettings(**job["settings"]))
    finally:
        cells.probe = plain
    seconds = time.perf_counter() - begin
    timing = read_json(out / "timing.json")
    settings = job["settings"]
    task = settings["tasks"]
    read = read_data(settings["data"], [task], settings["protocol"])
    splits = read.splits
    clocks = [[(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(stamps)] for stamps in probes]
    return {
        "seconds": seconds,
        "splits": {name: len(cuts) for name, cuts in splits.items()},
        "parts": [len(splits[name]) for name in read.names[task]],
        "utterances": sum(map(len, splits.values())),
        "encoding": next(iter(timing["encoding"].values())),
        "cells": list(timing["cells"].values()),
        "probe_clocks": [[wall for wall, _ in own] for own in clocks],
        "update_seconds": [wall for own in clocks for wall, _ in own],
        "update_cpu_seconds": [cpu for own in clocks for _, cpu in own],
        "results": read_jsonl(out / "results.jsonl"),
        "grid": read_jsonl(out / "grid.jsonl"),
    }


def _tick(stamps: list[tuple[float, float]]) -> None:
    stamps.append((time.perf_counter(), time.process_time()))


if __name__ == "__main__":
    answer(run, __doc__)
