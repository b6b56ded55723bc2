"""How soon the command line answers: help of every command, and a whole merge beside `cp`.

    python benchmarks/cli.py --work /tmp/cli-benchmark --out results/benchmarks/cli.json

Whole processes are measured, interpreter start included. The smallest time of the rounds counts,
since what else the machine does only adds to it; the processor's time stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from merge import MAKE_BASE

from speechft.cli.command_table import COMMANDS
from speechft.core.artifact import processor, versions

LIMITS = {"help": 0.25, "merge": 0.75}  # seconds; for a merge also 8 × cp


def timed(*command: object) -> dict[str, float]:
    """Give seconds by the clock and of the processor that a command takes."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    clock, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": round(clock, 3), "processor": round(used, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    base, tuned, merged = (options.work / name for name in ("base", "tuned", "merged"))
    if not tuned.is_dir():
        subprocess.run([sys.executable, "-c", MAKE_BASE, options.work], check=True)
    speechft = (sys.executable, "-m", "speechft")
    jobs: dict[str, tuple[object, ...]] = {"--help": (*speechft, "--help")}
    jobs |= {f"{c.name} --help": (*speechft, *c.name.split(), "--help") for c in COMMANDS}
    jobs["merge"] = (*speechft, "merge", base, tuned, "--alpha", 0.25, "--out", merged)
    jobs["cp"] = ("cp", base / "model.safetensors", options.work / "copy")
    times: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, command in jobs.items():
            shutil.rmtree(merged, ignore_errors=True)
            times[name].append(timed(*command))
    least: dict[str, Any] = {
        name: {key: min(one[key] for one in found) for key in ("clock", "processor")}
        for name, found in times.items()
    }
    record = {
        "seconds": least,
        "limits": LIMITS,
        "rounds": options.rounds,
        "load": os.getloadavg()[0],
        "processor": processor(),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(least, indent=2))


if __name__ == "__main__":
    main()
