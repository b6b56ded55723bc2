"""SUPERB's full length from a run of `benchmarks/superb.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from speechft.data.corpora import corpora
from speechft.probing.protocol import CHECKS
from speechft.tasks import TASKS as SUPERB
from speechft.tasks.asv import HELD_OUT

Record = dict[str, Any]

# The official splits of each task: train, dev and test of every fold; documents and queries.
FOLDS = 5
PLAIN = ("train", "dev", "test")
SPLITS = {
    "asv": ("asv_train", "", "asv_test"),
    "qbe": ("docs", "dev_queries", "eval_queries"),
    "er": tuple(f"fold{k + 1}_{name}" for k in range(FOLDS) for name in PLAIN),
}
ASV_SPEAKERS = 1211  # of VoxCeleb1's training part, some of whom are held out for dev


def measured(task: str, corpus: str, steps: int, result: Record) -> Record:
    """Give the figures of one task.

    The last update of every probe is followed by a look at dev, which is all that its clock holds
    beyond a usual update. `score_seconds` is the time of that per item; an item of QbE is a pair of
    query and document on one hidden state.
    """
    probes = [clocks for clocks in result["probe_clocks"] if len(clocks) > 1]
    update = median(clock for clocks in probes for clock in clocks[:-1]) if probes else 0.0
    encoding = result["encoding"]
    looks = CHECKS
    if task == "qbe":  # dev is searched on every hidden state
        looks = len(result["grid"])
        scoring = result["cells"][0] / scored(task, result["parts"], looks)
    else:
        spent = sum(max(0.0, clocks[-1] - update) for clocks in probes)
        scoring = spent / max(1, sum(result["parts"][1::3]))
    return {
        "corpus": corpus,
        # ASV hears other stretches of VoxCeleb1 than SID.
        "heard": f"{corpus}, {task}" if task == "asv" else corpus,
        "updates": steps if probes else 0,
        "rates": len({row.get("learning_rate") for row in result["grid"]}) if probes else 0,
        "update_seconds": update,
        "score_seconds": scoring,
        "looks": looks,
        "utterances": encoding["encoder_passes"],
        "audio_seconds": encoding["audio_seconds"],
        "encode_seconds": encoding["seconds"],
        "task_seconds": result["seconds"],
    }


def official_parts(task: str, counts: Mapping[str, int]) -> list[int]:
    """Give the official numbers of utterances of a task's splits."""
    parts = [counts.get(name, 0) for name in SPLITS.get(task, PLAIN)]
    if task == "asv":
        parts[1] = round(parts[0] * HELD_OUT / ASV_SPEAKERS)
        parts[0] -= parts[1]
    return parts


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
    once = {own["heard"]: full[task] for task, own in tasks.items()}
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
    parts = official_parts(task, counts)
    utterances = sum(parts[:3])
    same = [other for other in tasks.values() if other["heard"] == own["heard"]]
    seconds = sum(o["audio_seconds"] for o in same) / sum(o["utterances"] for o in same)
    updates = SUPERB[task].plans["superb"].steps * len(parts) // 3
    audio = utterances * seconds / 3600
    return {
        "utterances": utterances,
        "audio_hours": audio,
        "encode_hours": audio * pace,
        "updates": updates,
        "train_hours": updates * own["update_seconds"] / 3600,
        "score_hours": scored(task, parts, own["looks"]) * own["score_seconds"] / 3600,
    }
