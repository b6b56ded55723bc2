"""SUPERB's full length from a run of `benchmarks/superb.py`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from speechft.data.corpora import corpora
from speechft.stages.evaluation.plans import CHECKS, PLANS

Record = dict[str, Any]

# The official splits of each task: train, dev and test of every fold; documents and queries.
FOLDS = 5
PLAIN = ("train", "dev", "test")
SPLITS = {
    "asv": ("asv_train", "", "asv_test"),
    "qbe": ("docs", "dev_queries", "eval_queries"),
    "er": tuple(f"fold{k + 1}_{name}" for k in range(FOLDS) for name in PLAIN),
}


def measured(task: str, corpus: str, steps: int, result: Record) -> Record:
    """Give the figures of one task.

    `score_seconds` is the time that the updates do not explain, per item that is scored; an item
    of QbE is a pair of query and document on one hidden state.
    """
    clocks = result["update_seconds"]
    update = median(clocks) if clocks else 0.0
    folds = len(result["parts"]) // 3
    trained = folds * steps * fmean(clocks) if clocks else 0.0
    spare = max(0.0, result["cells"][0] - trained)
    encoding = result["encoding"]
    looks = len(result["grid"]) if task == "qbe" else 1
    return {
        "corpus": corpus,
        "updates": steps if clocks else 0,
        "rates": len({row.get("learning_rate") for row in result["grid"]}) if clocks else 0,
        "update_seconds": update,
        "score_seconds": spare / scored(task, result["parts"], looks),
        "looks": looks,
        "utterances": encoding["encoder_passes"],
        "audio_seconds": encoding["audio_seconds"],
        "encode_seconds": encoding["seconds"],
        "task_seconds": result["seconds"],
    }


def scored(task: str, parts: Sequence[int], looks: int) -> int:
    """Count the items that are scored: dev at every look, test once, in every fold."""
    folds = [parts[n : n + 3] for n in range(0, len(parts), 3)]
    return sum((train if task == "qbe" else 1) * (looks * dev + test) for train, dev, test in folds)


def at_full_length(tasks: dict[str, Record]) -> Record:
    """Give what encoding took here, and what SUPERB as a whole would take."""
    sums = {
        key: sum(own[key] for own in tasks.values())
        for key in ("utterances", "audio_seconds", "encode_seconds")
    }
    pace = sums["encode_seconds"] / sums["audio_seconds"]
    full = {task: _task(task, own, tasks, pace) for task, own in tasks.items()}
    once = {own["corpus"]: full[task] for task, own in tasks.items()}
    rest = sum(own["train_hours"] + own["score_hours"] for own in full.values())
    encode = sum(own["encode_hours"] for own in once.values())
    return {
        "encoding": {
            "utterances": sums["utterances"],
            "audio_hours": sums["audio_seconds"] / 3600,
            "seconds": sums["encode_seconds"],
            "hours_per_minute": 1 / (60 * pace),
        },
        "full_length": {
            "tasks": full,
            "audio_hours": sum(own["audio_hours"] for own in once.values()),
            "encode_hours": encode,
            "hours": encode + rest,
        },
    }


def _task(task: str, own: Record, tasks: dict[str, Record], pace: float) -> Record:
    """Give SUPERB's numbers of one task; its utterances are as long as those of its corpus here."""
    counts = corpora()[own["corpus"]].counts
    parts = [counts.get(name, 0) for name in SPLITS.get(task, PLAIN)]
    utterances = sum(parts[:3])
    same = [other for other in tasks.values() if other["corpus"] == own["corpus"]]
    seconds = sum(o["audio_seconds"] for o in same) / sum(o["utterances"] for o in same)
    updates = PLANS["superb"][task][0] * len(parts) // 3
    looks = own["looks"] if task == "qbe" else CHECKS
    audio = utterances * seconds / 3600
    return {
        "utterances": utterances,
        "audio_hours": audio,
        "encode_hours": audio * pace,
        "updates": updates,
        "train_hours": updates * own["update_seconds"] / 3600,
        "score_hours": scored(task, parts, looks) * own["score_seconds"] / 3600,
    }
