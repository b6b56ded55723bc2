"""Time and peak memory of linear merging, beside mergekit's raw merger and `cp`.

    python benchmarks/merge.py --work /tmp/merge-benchmark --out results/benchmarks/merge.json

Whole processes are measured, interpreter start included, in rounds that take turns, so that what
else the machine does hits all alike; minimum and median are given with the load. `speechft_first`
is a merge whose parents were never hashed before, `speechft` every later one. mergekit (LGPL) is
installed into its own environment below --work, or taken from --mergekit VENV.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MAKE_BASE = """
import sys, torch
from pathlib import Path
from transformers import HubertConfig, HubertModel
work = Path(sys.argv[1])
torch.manual_seed(0)
model = HubertModel(HubertConfig())
model.save_pretrained(work / "base")
with torch.no_grad():
    for parameter in model.parameters():
        parameter += 0.02 * torch.randn_like(parameter)
model.save_pretrained(work / "tuned")
for name in ("base", "tuned"):
    (work / name / "preprocessor_config.json").write_text('{"do_normalize": false}')
"""

MAKE_LARGE = """
import json, sys
import numpy as np
from pathlib import Path
from speechft.merging.tensorfile import TensorFileWriter, TensorInfo
work, gigabytes = Path(sys.argv[1]), float(sys.argv[2])
shape = (1280, 5120)
count = round(gigabytes * 1e9 / (4 * shape[0] * shape[1]))
infos = [TensorInfo(f"encoder.layers.{i}.feed_forward.weight", "F32", shape) for i in range(count)]
for seed, name in enumerate(("large-base", "large-tuned")):
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).standard_normal(shape[0] * shape[1], dtype=np.float32)
    writer = TensorFileWriter(folder / "model.safetensors", infos)
    for info in infos:
        writer.write(info.name, 0, values)
    writer.close()
    (folder / "config.json").write_text(json.dumps({"architectures": ["Wav2Vec2Model"]}))
    (folder / "preprocessor_config.json").write_text("{}")
"""

COMPARE = """
import sys
import numpy as np
from safetensors.numpy import load_file
one, two = (load_file(path) for path in sys.argv[1:])
assert set(one) == set(two)
print(max(float(np.abs(one[name] - two[name]).max()) for name in one))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="a scratch folder")
    parser.add_argument("--mergekit", type=Path, help="a virtual environment with mergekit")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--large", type=float, default=4.0, help="gigabytes; 0 leaves it out")
    parser.add_argument("--out", type=Path, help="JSON with all figures")
    arguments = parser.parse_args()
    work: Path = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    peer = environment(arguments.mergekit or work / "mergekit-venv")
    result: dict[str, Any] = {
        "machine": {
            "processors": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "load_before": os.getloadavg(),
        },
        "mergekit": version(peer),
    }
    if not (work / "tuned" / "model.safetensors").exists():
        subprocess.run([sys.executable, "-c", MAKE_BASE, str(work)], check=True)
    if arguments.repeats:
        result["base"] = compare(work, "", peer, arguments.repeats)
    if arguments.large:
        if not (work / "large-tuned" / "model.safetensors").exists():
            command = [sys.executable, "-c", MAKE_LARGE, str(work), str(arguments.large)]
            subprocess.run(command, check=True)
        result["large"] = compare(work, "large-", None, 1)
    result["machine"]["load_after"] = os.getloadavg()
    result["targets"] = targets(result)
    text = json.dumps(result, indent=2)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(text + "\n")
    sys.stdout.write(text + "\n")


def environment(folder: Path) -> Path:
    """Give the bin folder of an environment with mergekit, made if it is not there."""
    if not (folder / "bin" / "mergekit-pytorch").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "pip"), "install", "-q"]
        subprocess.run([*pip, "torch==2.13.0"], check=True)
        subprocess.run([*pip, "mergekit"], check=True)
    return folder / "bin"


def version(peer: Path) -> str:
    code = "from importlib import metadata; print(metadata.version('mergekit'))"
    done = subprocess.run(
        [str(peer / "python"), "-c", code], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def compare(work: Path, prefix: str, peer: Path | None, repeats: int) -> dict[str, Any]:
    """Let all mergers take turns; without a peer only ours and `cp`."""
    base, tuned = (work / f"{prefix}{name}" for name in ("base", "tuned"))
    weights = [folder / "model.safetensors" for folder in (base, tuned)]
    recipe = work / "linear.yaml"
    recipe.write_text(
        "merge_method: linear\ndtype: float32\nmodels:\n"
        + "".join(
            f"  - model: {path}\n    parameters: {{weight: {weight}}}\n"
            for path, weight in zip(weights, (0.75, 0.25), strict=True)
        )
    )
    outputs = {
        name: work / f"out-{name}" for name in ("cp", "speechft_first", "speechft", "mergekit")
    }
    module = [sys.executable, "-m", "speechft", "-q", "merge", str(base), str(tuned)]
    module += ["--alpha", "0.25", "--out"]
    commands = {
        "cp": ["cp", str(weights[0]), str(outputs["cp"])],
        "speechft_first": [*module, str(outputs["speechft_first"])],
        "speechft": [*module, str(outputs["speechft"])],
    }  # fmt: skip
    if peer is not None:
        command = [str(peer / "mergekit-pytorch"), str(recipe), str(outputs["mergekit"])]
        commands["mergekit"] = command
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    difference = None
    for round_ in range(repeats + 1):
        for name, command in commands.items():
            # A folder that cannot be made keeps no hashes.
            cache = weights[0] / "none" if name == "speechft_first" else work / "cache"
            run = measure(command, {"SPEECHFT_CACHE": str(cache)})
            if round_:  # the first round fills the page cache
                runs[name].append(run)
        if difference is None and peer is not None:
            merged = [next(outputs[n].glob("*.safetensors")) for n in ("speechft", "mergekit")]
            done = subprocess.run(
                [sys.executable, "-c", COMPARE, *map(str, merged)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            difference = float(done.stdout)
        for name in commands:
            path = outputs[name]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    summary = {
        name: {
            "seconds_min": min(run["seconds"] for run in each),
            "seconds_median": statistics.median(run["seconds"] for run in each),
            "cpu_seconds_min": min(run["cpu_seconds"] for run in each),
            "peak_mb": max(run["peak_mb"] for run in each),
        }
        for name, each in runs.items()
    }
    return {
        "bytes": weights[0].stat().st_size,
        "repeats": repeats,
        "largest_difference_to_mergekit": difference,
        **summary,
    }


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a process; give its wall time, processor time and peak resident memory."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    _, error = child.stderr, child.stderr.read() if child.stderr else b""
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} failed:\n{error.decode()[-2000:]}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * 1024 / 1e6,
    }


def targets(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "base" in result:
        ours, copy, peer = (result["base"][name] for name in ("speechft", "cp", "mergekit"))
        limit = max(3 * copy["seconds_min"], 0.8)
        ratio = peer["seconds_min"] / ours["seconds_min"]
        first = result["base"]["speechft_first"]["seconds_min"]
        found["seconds"] = {"limit": limit, "found": ours["seconds_min"], "first": first}
        found["times_faster_than_mergekit"] = {"limit": 8, "found": ratio}
        found["peak_mb"] = {"limit": 120, "found": ours["peak_mb"]}
    if "large" in result:
        found["peak_mb_large"] = {"limit": 120, "found": result["large"]["speechft"]["peak_mb"]}
    return found


if __name__ == "__main__":
    main()
