"""A run of SUPERB's ten tasks at full size, and what it says of the real corpora.

    python benchmarks/superb.py --device cuda --out results/benchmarks/superb.json

HuBERT Base with random weights and some 5,000 utterances (9 hours; `--scale` takes a share of them)
of synthetic speech in the trees of the real corpora (`probing/superb_trees.py`), heads of full
size, the whole grid of learning rates. Measured are the encoding, in hours of audio per minute; the
time per update, over the grid; and the time to score. From it comes SUPERB's full length: its
corpora's official numbers of utterances, as long as those here, encoded once; its updates; ten
looks at dev; one look at test. Encoding waits for the disk and the decoding of audio as it does for
a user; the kept hidden states of so little speech are read from memory, those of the real corpora
from a disk. They need some 30 GB, below `--keep` or in the folder of temporary files. Scores mean
nothing here: the weights are random and the updates few.

The LSTMs of ASR and SF take minutes per update on a CPU: leave them out there (`--tasks`).
`--quick` shows in a minute that all works, with a small encoder and small heads.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path
from typing import Any

import torch
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder
from probing.full_length import at_full_length, measured
from probing.ours import run
from probing.superb_trees import lay_out

from speechft.core.files import read_json, write_json
from speechft.encoders import build_encoder
from speechft.probing.settings import SUITES

DATA = "synthetic:tiny"
PACKAGED = "tiny-hubert"
TASKS = SUITES["superb10"].tasks
# Updates that are timed: ASR and SF have LSTMs, pooled tasks a few matrices.
UPDATES = {"asr": 8, "sf": 8, "pr": 40, "sd": 20, "asv": 20}
POOLED_UPDATES = 200


def evaluate_tasks(options: argparse.Namespace, encoder: str, work: Path) -> dict[str, Any]:
    """Evaluate the tasks one after the other on one store; give what each took."""
    root = options.corpora or work / "corpora"
    note(f"laying out the corpora below {root}")
    data = laid_out(root, options)
    found = {}
    for task in options.tasks:
        note(task.upper())
        steps = options.updates or UPDATES.get(task, POOLED_UPDATES)
        settings = {
            "encoders": encoder,
            "data": data[task],
            "tasks": task,
            "out": str(work / f"out-{task}"),
            "head_size": "mini" if options.quick else "superb",
            "steps": steps,
            "checks": 1,
            "suite": "benchmark",
            "protocol": "clean",
            "device": options.device,
            "workers": 1,
            "predictions": False,
            "store": str(work / "store"),
            "store_gb": options.store_gb,
            "frame_dtype": "float16",
            "batch_seconds": options.batch_seconds,
        }
        result = run({"settings": settings, "threads": options.threads})
        found[task] = measured(task, data[task].partition(":")[0], steps, result)
        if options.out:  # what is measured stays, whatever happens to the next task
            write_json(options.out, summary(options, found))
    return found


def laid_out(root: Path, options: argparse.Namespace) -> dict[str, str]:
    """Lay out the corpora, unless they lie there; the list of them is written last."""
    listed, wanted = root / "data.json", {"scale": options.scale, "tasks": options.tasks}
    if not listed.is_file():
        data = lay_out(root.absolute(), DATA, options.tasks, options.scale)
        write_json(listed, {**wanted, "data": data})
    found = read_json(listed)
    if {key: found.get(key) for key in wanted} != wanted:
        raise SystemExit(f"{root} holds other trees than {wanted}: take another folder")
    data: dict[str, str] = found["data"]
    return data


def benchmark(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    encoder = PACKAGED
    if not options.quick:
        build_encoder({"model_type": "hubert"}, seed=0).save(work / "base")
        encoder = str(work / "base")
    return summary(options, evaluate_tasks(options, encoder, work))


def summary(options: argparse.Namespace, tasks: dict[str, Any]) -> dict[str, Any]:
    """Give all figures from those of the tasks that are done."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    about = machine(options.threads)
    if options.device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name(options.device)
        about["gpu_peak_mib"] = round(torch.cuda.max_memory_allocated(options.device) / 2**20)
    result = {
        "quick": options.quick,
        "encoder": PACKAGED if options.quick else "HuBERT Base, random weights",
        "machine": {**about, "peak_mib": round(peak), "torch": torch.__version__},
        "device": options.device,
        "recurrence": "TF32" if options.device.startswith("cuda") else "float32",
        "scale": options.scale,
        "tasks": tasks,
        **at_full_length(tasks),
    }
    return {key: rounded(value) for key, value in result.items()}


def show(result: dict[str, Any]) -> str:
    encoding, full = result["encoding"], result["full_length"]
    about = result["machine"]
    chip = about.get("gpu", about["processor"])
    lines = [
        f"{chip}, {about['threads']} thread(s); {result['encoder']}",
        f"{encoding['utterances']} utterances, {encoding['audio_hours']:.2f} h, encoded at "
        f"{encoding['hours_per_minute']:.2f} h of audio per minute",
        "",
        f"{'':5}{'measured here':^30}{'SUPERB, hours':^40}",
        f"{'task':5}{'rates':>6}{'s/update':>12}{'s/scored':>12}"
        f"{'audio':>9}{'encode':>9}{'train':>9}{'score':>9}",
    ]
    for task, own in result["tasks"].items():
        there = full["tasks"][task]
        lines.append(
            f"{task.upper():5}{own['rates']:6d}{own['update_seconds']:12.4f}"
            f"{own['score_seconds']:12.5f}{there['audio_hours']:9.0f}{there['encode_hours']:9.2f}"
            f"{there['train_hours']:9.2f}{there['score_hours']:9.2f}"
        )
    lines.append(
        f"all, nothing encoded twice: {full['audio_hours']:.0f} h of audio, "
        f"{full['encode_hours']:.2f} h to encode, {full['hours']:.1f} h in all"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the utterances")
    parser.add_argument("--updates", type=int, help="of every probe, instead of each task's number")
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument("--store-gb", type=float, default=100.0)
    parser.add_argument("--quick", action="store_true", help="a small encoder, few utterances")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--corpora", type=Path, help="folder of the trees, for further runs")
    parser.add_argument("--lay-out", action="store_true", help="nothing but that")
    parser.add_argument("--keep", type=Path, help="folder for all files; else a temporary one")
    options = parser.parse_args()
    options.tasks = list(dict.fromkeys(task.strip() for task in options.tasks.split(",")))
    unknown = [task for task in options.tasks if task not in TASKS]
    if unknown:
        parser.error(f"no task {unknown[0]!r}; there are {', '.join(TASKS)}")
    if options.quick:
        options.scale, options.updates = 0.02, 4
    if options.scale <= 0 or (options.updates or 3) < 3:
        parser.error("--scale must be above 0 and --updates 3 or more")
    if options.lay_out:
        laid_out(options.corpora or parser.error("--lay-out needs --corpora"), options)
        return
    with working_folder(options.keep) as work:
        result = benchmark(options, work)
    sys.stdout.write(show(result))


if __name__ == "__main__":
    main()
