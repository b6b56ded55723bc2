"""The digits of a demo, a study with two seeds and a pre-training, to compare two versions by.

    python benchmarks/digits.py --keep FILE       # run all three, write what they give
    python benchmarks/digits.py --against FILE    # run all three, compare with what was kept

On one kind of processor and one set of libraries every digit should be the same; what differs is
listed, and the exit code is 1. The version that is measured is the `speechft` of this environment.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from speechft.core.artifact import processor, versions

STUDY = """
name: digits
title: Two seeds of one task
about: Digits to compare by.
seeds: [0, 1]
encoders: {theta0: tiny-hubert}
finetune:
  {data: "synthetic:demo", seconds: 16, learning_rate: 2.0e-4, head_size: mini, evaluate_every: 0}
merge: {dtype: float32}
evaluate: {data: "synthetic:demo", tasks: [sid, er], steps: 60, predictions: false}
stages:
  - {name: sid, finetune: {task: sid, steps: 60}}
  - {name: half, of: sid, merge: {alpha: 0.5}}
rows:
  - {name: theta0, title: pretrained, encoder: theta0}
  - {name: tuned, title: finetuned, encoder: sid}
  - {name: merged, title: merged, encoder: half, tuned: tuned}
"""


def main() -> None:
    """Run, keep or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="write the digits to this file")
    parser.add_argument("--against", type=Path, help="compare with the digits of this file")
    parser.add_argument("--runs", type=Path, help="folder of the runs; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = measure(options.runs or Path(temporary))
    if options.keep:
        about = {"processor": processor(), "versions": versions(), "digits": found}
        options.keep.write_text(json.dumps(about, indent=1) + "\n")
    if options.against:
        sys.exit(compare(json.loads(options.against.read_text())["digits"], found))


def measure(runs: Path) -> dict[str, Any]:
    """Give the name of every figure with its value, and hashes of weights."""
    runs.mkdir(parents=True, exist_ok=True)
    (runs / "study.yaml").write_text(STUDY)
    call("demo", "--out", runs / "demo")
    call("study", runs / "study.yaml", "--out", runs / "studies", "--workers", "2")
    call(
        *("pretrain", "--init", "tiny-hubert", "--data", "synthetic:tiny", "--steps", "12"),
        # What was the default when the digits were kept.
        *("--set", "unmasked_weight=0.5", "--set", "clusters=100", "--set", "seconds=14"),
        *("--set", "feature_penalty=0", "--seed", "0", "--out", runs / "pretrain"),
    )
    found: dict[str, Any] = {}
    for file in sorted(runs.rglob("results.jsonl")):
        if "demo" in file.relative_to(runs).parts[0]:
            for r in records(file):
                name = f"demo {r['encoder']} {r['task']} {r['metric']} seed {r['seed']}"
                found[name] = r["value"]
    for r in records(runs / "studies" / "digits" / "measurements.jsonl"):
        name = " ".join(str(r[key]) for key in ("row", "task", "metric", "seed") if key in r)
        found[f"study {name}"] = r["value"]
    (metrics,) = (runs / "pretrain").rglob("metrics.jsonl")
    for r in records(metrics):
        if "loss" in r:
            found[f"pretrain update {r['update']} loss"] = r["loss"]
    for name in ("demo/seed-0/finetune-sid", "pretrain"):
        found[f"{name} weights"] = weights(runs / name / "encoder" / "model.safetensors")
    return found


def call(*arguments: object) -> None:
    """Run a command of speechft; its output is shown."""
    subprocess.run([sys.executable, "-m", "speechft", *map(str, arguments)], check=True)


def records(file: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def weights(file: Path) -> str:
    """Hash names, types and bytes of all tensors, whatever else the file says."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(file).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()


def compare(before: dict[str, Any], now: dict[str, Any]) -> int:
    """List what differs; give the exit code."""
    names = sorted({*before, *now})
    differing = [name for name in names if before.get(name) != now.get(name)]
    for name in differing:
        print(f"{name}: {before.get(name)} → {now.get(name)}")
    print(f"{len(names) - len(differing)} of {len(names)} digits are the same")
    return 1 if differing else 0


if __name__ == "__main__":
    main()
