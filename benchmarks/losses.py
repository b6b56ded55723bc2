"""SUPERB's ten tasks under `protocol: s3prl` against S3PRL's own code: the losses of first updates.

    python benchmarks/losses.py --s3prl-python s3prl-old/bin/python --s3prl-source s3prl \
        --out results/benchmarks/losses.json

S3PRL runs in an environment of its time, with the sox that torchaudio had then (Python 3.11):

    python3.11 -m venv s3prl-old
    s3prl-old/bin/pip install torch==2.0.1 torchaudio==2.0.2 "numpy<2" "transformers==4.30.2"
    s3prl-old/bin/pip install --no-deps s3prl==0.4.18
    s3prl-old/bin/pip install "numpy<2" "pandas<3" "dtw-python<1.6" "huggingface_hub<1" omegaconf \
        librosa tqdm pyyaml tensorboardX editdistance soundfile h5py lxml packaging
    git clone https://github.com/s3prl/s3prl && git -C s3prl checkout ec8064b5
    cp -r s3prl/s3prl/downstream/ctc/corpus \
        s3prl-old/lib/python3.11/site-packages/s3prl/downstream/ctc/

(the wheel lacks that folder). Each task takes S3PRL's own configuration, data set, batches, head,
loss and optimiser on a tree of synthetic speech (`probing/loss_trees.py`); `speechft evaluate` then
reads the same tree, begins with the same head and sees the same batches (`probing/our_losses.py`).
QbE trains nothing: its scores of every query and document are compared, for every hidden state.

Three encoders part what differs. "exact" has a layer norm in its front end and masks padding
exactly: all that is left are the task and the protocol, and losses must agree to 1e-4. In "group
norm" (tiny-wav2vec2) S3PRL's group norm sees the zeros after short utterances. "group norm, HuBERT"
(tiny-hubert) has S3PRL's mask of HuBERT besides, which is up to two frames longer than the audio.

Off on both sides are dropout and SpecAugment, as their random numbers differ. `--crops` measures
the random crops of SID and ASV.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from probe import machine, note, run_side
from probing.figures import rounded
from probing.folder import working_folder
from probing.loss_trees import TASKS, Comparison, Config, lay_out, speakers

from speechft.core.files import read_json, write_json
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.convert import convert
from speechft.encoders.identity import locate
from speechft.encoders.settings import ConvertSettings
from speechft.tasks import TASKS as SUPERB

DATA = "synthetic:tiny"
TOLERANCE = 1e-4
NEVER = 10**9
ENCODERS = {
    "exact": ("wav2vec2_local", ""),
    "group norm": ("wav2vec2_local", "tiny-wav2vec2"),
    "group norm, HuBERT": ("hubert_local", "tiny-hubert"),
}


def make_encoders(work: Path) -> dict[str, tuple[str, Path]]:
    """Give every encoder as ours and as S3PRL's checkpoint."""
    found = {}
    for name, (_, source) in ENCODERS.items():
        stem = name.replace(", ", "-").replace(" ", "-")
        if not source:
            config = read_json(locate("tiny-wav2vec2") / "config.json")
            build_encoder({**config, "feat_extract_norm": "layer"}, seed=0).save(work / stem)
            source = str(work / stem)
        target = work / f"{stem}.pt"
        convert(ConvertSettings(source=source, target=target, to="s3prl"))
        found[name] = (source, target)
    return found


def s3prl_job(
    task: str, config: Config, data: str, encoder: str, checkpoint: Path, folder: Path, threads: int
) -> dict[str, Any]:
    own, place = TASKS[task], Path(data.partition(":")[2])
    config = without_chance(config, own, task)
    return {
        "task": task,
        "downstream": own.downstream,
        "upstream": ENCODERS[encoder][0],
        "checkpoint": str(checkpoint),
        "config": config,
        "seed": 0,
        "threads": threads,
        "folder": str(folder),
        "record": str(folder.with_suffix(".record")),
        "speakers": speakers(place) if task == "sid" else 0,
    }


def without_chance(config: Config, own: Comparison, task: str) -> Config:
    """Give S3PRL's configuration without dropout and SpecAugment, and with this run's length."""
    if task == "qbe":
        return config
    published = SUPERB[task].published
    config = {key: value for key, value in config.items() if key != "specaug"}
    steps = {"total_steps": own.updates, "log_step": NEVER, "eval_step": NEVER, "save_step": NEVER}
    config["runner"] = {**config["runner"], **steps}
    if published is None or config["runner"]["gradient_accumulate_steps"] != published.accumulate:
        raise SystemExit(f"{task}: the configuration accumulates over another number of batches")
    config["optimizer"] = {**config["optimizer"], "lr": own.rate}
    expert = config["downstream_expert"]
    for part in (expert, expert.get("datarc", {}), expert.get("loaderrc", {}), expert.get("corpus", {})):
        if "num_workers" in part:
            part["num_workers"] = 0
    model = expert.get("model", expert.get("modelrc", {}))
    if "RNNs" in model:
        model["RNNs"]["dropout"] = [0.0] * len(model["RNNs"]["dropout"])
    return config


def our_job(task: str, data: str, encoder: str, job: dict[str, Any], work: Path) -> dict[str, Any]:
    own = TASKS[task]
    settings = {
        "encoders": encoder,
        "data": data,
        "out": str(work / f"ours-{task}-{Path(job['folder']).name}"),
        "tasks": task,
        "head_size": "superb",
        "steps": own.updates,
        "learning_rates": [own.rate],
        "checks": 1,
        "suite": "benchmark",
        "protocol": "s3prl",
        "frame_dtype": "float32",
        "device": "cpu",
        "workers": 1,
        "keep_heads": False,
        "predictions": False,
        "store": str(work / "store"),
    }
    return {"task": task, "record": job["record"], "settings": settings, "threads": job["threads"]}


def compare_losses(found: dict[str, Any]) -> dict[str, Any]:
    """Give both sides' losses, batch for batch, and how far they are apart."""
    theirs, ours = found.pop("theirs"), found.pop("ours")
    apart = [abs(a - b) / abs(a) for a, b in zip(theirs, ours, strict=True)]
    return {
        **found,
        "losses": {"s3prl": theirs, "ours": ours},
        "largest_difference": max(apart),
        "first_difference": apart[0],
        "equal": max(apart) <= TOLERANCE,
    }


def compare_scores(found: dict[str, Any]) -> dict[str, Any]:
    """Give how far the scores of queries and documents are apart, which have deviation 1."""
    theirs, ours = found["theirs"], found["ours"]
    apart = [
        abs(score - o[query][document])
        for t, o in zip(theirs, ours, strict=True)
        for query, row in t.items()
        for document, score in row.items()
    ]
    return {
        "states": len(theirs),
        "queries": len(theirs[0]),
        "scores": len(apart),
        "largest_difference": max(apart),
        "equal": max(apart) <= TOLERANCE,
    }


def compare(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    begin = time.time()
    encoders = make_encoders(work)
    tasks: dict[str, Any] = {}
    versions: dict[str, str] = {}
    for task in options.tasks:
        data, config = lay_out(task, work / task, DATA, options.s3prl_source.absolute())
        tasks[task] = {"s3prl": f"{TASKS[task].downstream}/{TASKS[task].config}"}
        jobs, ours = [], []
        for name in options.encoders:
            source, checkpoint = encoders[name]
            folder = work / f"{task}-{checkpoint.stem}"
            jobs.append(s3prl_job(task, config, data, name, checkpoint, folder, options.threads))
            jobs[-1]["states"] = load_encoder(source).num_layers + 1
            ours.append(our_job(task, data, source, jobs[-1], work))
        note(f"{task}: S3PRL")
        python = options.s3prl_python.absolute()
        versions = run_side(python, "s3prl_losses.py", jobs, work)["versions"]
        note(f"{task}: speechft")
        found = run_side(sys.executable, "our_losses.py", ours, work)["results"]
        for name, one in zip(options.encoders, found, strict=True):
            tasks[task][name] = (compare_scores if task == "qbe" else compare_losses)(one)
            note(f"{task}, {name}: largest difference {tasks[task][name]['largest_difference']:.2g}")
    return {
        "machine": machine(options.threads),
        "minutes": round((time.time() - begin) / 60, 1),
        "versions": {"ours": {"torch": torch.__version__}, "s3prl": versions},
        "data": DATA,
        "tolerance": TOLERANCE,
        "tasks": rounded(tasks),
    }


def show(result: dict[str, Any]) -> str:
    lines = ["largest difference of a loss, relative (QbE: of a score)"]
    lines.append(f"{'task':6}" + "".join(f"{name:>22}" for name in ENCODERS))
    for task, own in result["tasks"].items():
        cells = [f"{own[name]['largest_difference']:.2g}" if name in own else "" for name in ENCODERS]
        lines.append(f"{task.upper():6}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--s3prl-python", type=Path, required=True)
    parser.add_argument("--s3prl-source", type=Path, required=True, help="a copy of its repository")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    parser.add_argument("--encoders", default=";".join(ENCODERS), help="separated by semicolons")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for trees and logs; else a temporary one")
    options = parser.parse_args()
    options.tasks, options.encoders = options.tasks.split(","), options.encoders.split(";")
    with working_folder(options.keep) as work:
        result = compare(options, work)
    sys.stdout.write(show(result))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
