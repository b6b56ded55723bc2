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

Off on both sides are dropout and SpecAugment, as their random numbers differ. What else differs is
measured by itself: the crops of SID and ASV (`sid-crops`, `asv-crops`: S3PRL draws new ones, so
its losses differ from its own, too), the resampling of QUESST (`qbe-8k`), and how transcripts with
stray marks of slots are scored (`slots`).
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any, get_args

import torch
from lhotse.cut import Cut
from probe import machine, note, run_side
from probing.figures import rounded
from probing.folder import working_folder
from probing.loss_trees import TASKS, Comparison, Config, lay_out, speakers

from speechft.core.files import read_json, write_json
from speechft.data.load import load_data
from speechft.encoders import build_encoder, load_encoder
from speechft.encoders.convert import convert
from speechft.encoders.identity import locate
from speechft.encoders.settings import ConvertSettings
from speechft.tasks import TASKS as SUPERB
from speechft.tasks import ProtocolName
from speechft.tasks.sf import SlotFilling

DATA = "synthetic:tiny"
TOLERANCE = 1e-4
NEVER = 10**9
ORDER = (*TASKS, "slots")
Spelled = list[list[str]]  # symbols
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
    name: str, config: Config, data: str, encoder: str, checkpoint: Path, folder: Path, threads: int
) -> dict[str, Any]:
    own, place = TASKS[name], Path(data.partition(":")[2])
    task = name.partition("-")[0]
    config = without_chance(config, own, task, updates_of(own, encoder))
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


def updates_of(own: Comparison, encoder: str) -> int:
    """Give the updates that are compared: one where hidden states differ already."""
    return own.updates if encoder == "exact" else 1


def without_chance(config: Config, own: Comparison, task: str, updates: int) -> Config:
    """Give S3PRL's configuration without dropout and SpecAugment, and with this run's length."""
    if task == "qbe":
        return config
    published = SUPERB[task].published
    config = {key: value for key, value in copy.deepcopy(config).items() if key != "specaug"}
    steps = {"total_steps": updates, "log_step": NEVER, "eval_step": NEVER, "save_step": NEVER}
    config["runner"] = {**config["runner"], **steps}
    if published is None or config["runner"]["gradient_accumulate_steps"] != published.accumulate:
        raise SystemExit(f"{task}: the configuration accumulates over another number of batches")
    config["optimizer"] = {**config["optimizer"], "lr": own.rate}
    expert = config["downstream_expert"]
    for part in (
        expert,
        expert.get("datarc", {}),
        expert.get("loaderrc", {}),
        expert.get("corpus", {}),
    ):
        if "num_workers" in part:
            part["num_workers"] = 0
    model = expert.get("model", expert.get("modelrc", {}))
    if "RNNs" in model:
        model["RNNs"]["dropout"] = [0.0] * len(model["RNNs"]["dropout"])
    return config


def our_job(name: str, data: str, encoder: str, job: dict[str, Any], work: Path) -> dict[str, Any]:
    own, task = TASKS[name], name.partition("-")[0]
    settings = {
        "encoders": encoder,
        "data": data,
        "out": str(work / f"ours-{Path(job['folder']).name}"),
        "tasks": task,
        "head_size": "superb",
        "steps": job["config"]["runner"].get("total_steps", 1),
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
    theirs, ours = found["theirs"], found["ours"]
    apart = [abs(a - b) / abs(a) for a, b in zip(theirs, ours, strict=True)]
    return {
        "batches_alike": found["batches_alike"],
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


def compare_crops(found: dict[str, Any], others: list[float]) -> dict[str, Any]:
    """Give how far losses with other crops are apart: ours from S3PRL's, S3PRL's from its own."""
    theirs, ours = found["theirs"], found["ours"]
    return {
        "losses": {"s3prl": theirs, "s3prl, other crops": others, "ours": ours},
        "mean_difference": mean_apart(theirs, ours),
        "mean_difference_of_s3prl": mean_apart(theirs, others),
    }


def mean_apart(theirs: list[float], others: list[float]) -> float:
    return fmean(abs(a - b) / abs(a) for a, b in zip(theirs, others, strict=True))


def compare(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    encoders = make_encoders(work)
    plans = [plan(options, name, encoders, work) for name in options.tasks if name in TASKS]
    jobs = [job for one in plans for job in one.jobs]
    note(f"S3PRL, {len(jobs)} runs")
    if "slots" in options.tasks:
        said, job = slots_job(options.threads)
        jobs.append(job)
    theirs = run_side(options.s3prl_python.absolute(), "s3prl_losses.py", jobs, work)
    note("speechft")
    ours = [job for one in plans for job in one.ours]
    found = iter(run_side(sys.executable, "our_losses.py", ours, work)["results"] if ours else ())
    result = read_json(options.out) if options.out and options.out.is_file() else {"tasks": {}}
    tasks = result["tasks"]
    for one in plans:
        tasks[one.name] = rounded(one.result([next(found) for _ in one.ours]))
    if "slots" in options.tasks:
        tasks["slots"] = rounded(compare_slots(said, theirs["results"][-1]))
    return {
        "machine": machine(options.threads),
        "versions": {"ours": {"torch": torch.__version__}, "s3prl": theirs["versions"]},
        "data": DATA,
        "tolerance": TOLERANCE,
        "tasks": {name: tasks[name] for name in ORDER if name in tasks},
    }


@dataclass(frozen=True)
class Planned:
    """What both sides do for one task."""

    name: str
    encoders: list[str]
    jobs: list[dict[str, Any]]
    ours: list[dict[str, Any]]

    def result(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        own = TASKS[self.name]
        result = {"about": own.about} if own.about else {}
        result["s3prl"] = f"{own.downstream}/{own.config}"
        if self.name.endswith("-crops"):
            others = torch.load(self.jobs[0]["record"], weights_only=True)["losses"]
            return result | compare_crops(found[0], others)
        show = compare_scores if self.name.startswith("qbe") else compare_losses
        return result | dict(zip(self.encoders, map(show, found), strict=True))


def plan(
    options: argparse.Namespace, name: str, encoders: dict[str, tuple[str, Path]], work: Path
) -> Planned:
    """Lay out a task's tree; give what both sides do on it, encoder by encoder.

    Where crops are compared S3PRL runs twice, and the last run is the one that ours follows.
    """
    data, config = lay_out(name, work / name, DATA, options.s3prl_source.absolute())
    chosen = [key for key in options.encoders if key == "exact" or "-" not in name]
    jobs, ours = [], []
    for key in chosen:
        source, checkpoint = encoders[key]
        for seed in (1, 0) if name.endswith("-crops") else (0,):
            folder = work / f"{name}-{checkpoint.stem}-{seed}"
            job = s3prl_job(name, config, data, key, checkpoint, folder, options.threads)
            jobs.append(job | {"crops": seed, "states": load_encoder(source).num_layers + 1})
        ours.append(our_job(name, data, source, jobs[-1], work))
    return Planned(name, chosen, jobs, ours)


Texts = dict[ProtocolName, list[list[str]]]  # references and hypotheses


def slots_job(threads: int) -> tuple[Texts, dict[str, Any]]:
    """Give transcripts with stray marks, and what S3PRL's side does with them."""
    said = marked_transcripts(load_data(DATA)["train"])
    texts: Texts = {
        name: [[SlotFilling([], name).assemble(symbols) for symbols in side] for side in said]
        for name in get_args(ProtocolName)
    }
    job = dict(zip(("references", "hypotheses"), texts["s3prl"], strict=True))
    return texts, {**job, "task": "slots", "threads": threads}


def compare_slots(texts: Texts, theirs: dict[str, float]) -> dict[str, Any]:
    """Score transcripts with stray marks as S3PRL did."""
    ours = {
        name: SlotFilling([], name).score(hypotheses, references)
        for name, (references, hypotheses) in texts.items()
    }
    apart = [abs(theirs[name] - value) for name, value in ours["s3prl"].items()]
    return {
        "about": "scores of transcripts with stray marks of slots, percent",
        "transcripts": len(texts["s3prl"][0]),
        "s3prl": theirs,
        "ours": ours,
        "largest_difference": max(apart),
        "equal": max(apart) <= TOLERANCE,
    }


def marked_transcripts(cuts: Iterable[Cut], times: int = 20) -> tuple[Spelled, Spelled]:
    """Give transcripts with slots, and what a bad head might make of them: marks anywhere."""
    task, random = SlotFilling([], "s3prl"), Random(0)
    tagged = [cut for cut in cuts if (cut.supervisions[0].custom or {}).get("words_tags")]
    references = [task.symbols(cut) for cut in tagged] * times
    marks = sorted({symbol for symbols in references for symbol in symbols if len(symbol) > 1})
    hypotheses = []
    for symbols in references:
        hypotheses.append([])
        for symbol in symbols:
            hypotheses[-1] += [] if random.random() < 0.05 else [symbol]
            hypotheses[-1] += [random.choice(marks)] if random.random() < 0.02 else []
    return references, hypotheses


def line_of(own: dict[str, Any]) -> str:
    parts = {key: one["largest_difference"] for key, one in own.items() if key in ENCODERS}
    parts |= {key: value for key, value in own.items() if "difference" in key}
    return ", ".join(f"{key} {value:.2g}" for key, value in parts.items())


def show(result: dict[str, Any]) -> str:
    lines = ["largest relative difference of a loss; of QbE's scores and of slots' percents, plain"]
    lines += [f"{name:10} {line_of(own)}" for name, own in result["tasks"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--s3prl-python", type=Path, required=True)
    parser.add_argument("--s3prl-source", type=Path, required=True, help="a copy of its repository")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tasks", default=",".join(ORDER), help="comma-separated")
    parser.add_argument("--encoders", default=";".join(ENCODERS), help="separated by semicolons")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, beside those there")
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
