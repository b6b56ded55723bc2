"""What both sides of `benchmarks/probe.py` are told: the same data, encoder, batches, rates."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from speechft.core.files import read_json, write_json
from speechft.tasks import TASKS as SUPERB
from speechft.tasks.pr import ARPABET

METRICS = {"ic": "acc", "pr": "per", "sf": "slot_type_f1"}
DOWNSTREAMS = {"ic": "fluent_commands", "pr": "ctc", "sf": "ctc"}
# The runner's splits at every check; S3PRL's IC looks at the test split too.
CHECKED = {"ic": ("dev", "test"), "pr": ("dev",), "sf": ("dev",)}


@dataclass(frozen=True)
class Trial:
    """One task on one encoder.

    Attributes:
        task: id.
        steps: updates.
        batch: utterances per batch; PR takes two batches per update, as in SUPERB.
        rate: learning rate.
        checks: how often the dev split is scored.
        seeds: each a run of its own.
        more_steps: updates of ours where only time is measured, to time what takes milliseconds.
    """

    task: str
    steps: int
    batch: int
    rate: float
    checks: int = 1
    seeds: tuple[int, ...] = (0,)
    more_steps: int = 0


def our_job(
    trial: Trial, encoder: str, data: str, out: Path, threads: int, rates: tuple[float, ...] = ()
) -> dict[str, Any]:
    settings = {
        "encoders": encoder,
        "data": data,
        "out": str(out),
        "tasks": trial.task,
        "seeds": trial.seeds,
        "head_size": "superb",
        "steps": trial.more_steps or trial.steps,
        "batch_size": trial.batch,
        "learning_rates": list(rates or (trial.rate,)),
        "checks": trial.checks,
        "suite": "benchmark",
        "protocol": "s3prl",
        "device": "cpu",
        "workers": 1,
        "store": str(out.parent / f"store-{trial.task}"),
    }
    return {"settings": settings, "threads": threads}


def s3prl_jobs(
    trial: Trial, checkpoint: Path, data: str, out: Path, threads: int
) -> list[dict[str, Any]]:
    root = Path(data.partition(":")[2])
    return [
        {
            "checkpoint": str(checkpoint),
            "downstream": DOWNSTREAMS[trial.task],
            "config": s3prl_config(trial, root),
            "seed": seed,
            "folder": str(out / f"{trial.task}-{seed}"),
            "threads": threads,
        }
        for seed in trial.seeds
    ]


def s3prl_config(trial: Trial, root: Path) -> dict[str, Any]:
    """SUPERB's configuration of a task, but for this trial's numbers."""
    expert = {"ic": _intents, "pr": _phonemes, "sf": _slots}[trial.task]
    config = {
        "runner": {
            "total_steps": trial.steps,
            "gradient_clipping": 1,
            "gradient_accumulate_steps": SUPERB[trial.task].published.accumulate,
            "log_step": 100,
            "eval_step": trial.steps // trial.checks,
            "save_step": trial.steps,
            "max_keep": 1,
            "eval_dataloaders": list(CHECKED[trial.task]),
        },
        "optimizer": {"name": "TorchOptim", "torch_optim_name": "Adam", "lr": trial.rate},
        "downstream_expert": expert(root, trial.batch),
    }
    if trial.task == "sf":
        config["specaug"] = _SPECAUG
    return config


_SPECAUG = {
    "adaptive": False,
    "apply_time_warp": True,
    "apply_time_mask": True,
    "apply_freq_mask": True,
    "time_warp_window": 5,
    "time_mask_width_range": [0, 40],
    "freq_mask_width_range": [0, 50],
    "num_freq_mask": 4,
    "num_time_mask": 2,
}


def _intents(root: Path, batch: int) -> dict[str, Any]:
    data = {"file_path": str(root), "num_workers": 0}
    sizes = {"train_batch_size": batch, "eval_batch_size": SUPERB["ic"].published.eval_batch}
    model = {"select": "UtteranceLevel", "UtteranceLevel": {"pooling": "MeanPooling"}}
    return {"datarc": {**data, **sizes}, "modelrc": {"projector_dim": 256, **model}}


def _phonemes(root: Path, batch: int) -> dict[str, Any]:
    units = root.parent / "phoneme.txt"
    units.write_text("".join(f"{unit}\n" for unit in ARPABET))
    kinds = ("200k-g2p", "allothers-g2p")
    corpus = {
        "name": "libriphone",
        "path": str(root),
        "lexicon": [str(root / f"librispeech-lexicon-{kind}.txt") for kind in kinds],
        "train": ["train-clean-100"],
        "dev": ["dev-clean"],
        "test": ["test-clean"],
        "bucketing": True,
        "batch_size": batch,
    }
    text = {"mode": "word", "vocab_file": str(units)}
    model = {"project_dim": 256, "zero_infinity": True, "select": "FrameLevel"}
    return _recognition(corpus, text, model, ["per"], higher=False)


def _slots(root: Path, batch: int) -> dict[str, Any]:
    letters = root.parent / "character.txt"
    letters.write_text("".join(f"{letter}\n" for letter in [" ", *ascii_uppercase, "'"]))
    corpus = {
        "name": "snips",
        "path": str(root),
        "train": ["train"],
        "dev": ["valid"],
        "test": ["test"],
        "bucketing": True,
        "batch_size": batch,
        "train_speakers": ["Ivy", "Joey"],
        "valid_speakers": ["Amy"],
        "test_speakers": ["Brian", "Emma"],
    }
    slots = str(root / "slots.txt")
    text = {"mode": "character-slot", "vocab_file": str(letters), "slots_file": slots}
    layers = {"total_rate": -1, "module": "LSTM", "bidirection": True, "dim": [1024, 1024]}
    layers |= {"dropout": [0.2, 0.2], "layer_norm": [False] * 2, "proj": [False] * 2}
    layers |= {"sample_rate": [1, 1], "sample_style": "concat"}
    model = {"project_dim": 1024, "zero_infinity": True, "select": "RNNs", "RNNs": layers}
    metrics = ["slot_type_f1", "slot_value_cer"]
    return _recognition(corpus, text, model, metrics, higher=True)


def _recognition(
    corpus: dict[str, Any], text: dict[str, str], model: Any, metrics: list[str], *, higher: bool
) -> dict[str, Any]:
    parts = {"corpus": corpus, "text": text, "model": model, "save_best_on": ["dev"]}
    return {**parts, "metric": metrics, "metric_higher_better": higher}


def answer(run: Callable[[dict[str, Any]], Any], about: str | None) -> None:
    """Do the jobs of the file that the command line names, and write what came of them."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("jobs", type=Path, help="a JSON file with a list of jobs")
    parser.add_argument("out", type=Path, help="where their results go, as JSON")
    options = parser.parse_args()
    write_json(options.out, {"results": [run(job) for job in read_json(options.jobs)]})
