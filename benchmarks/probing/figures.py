"""Figures of `benchmarks/probe.py` from what its sides measured."""

from __future__ import annotations

import math
from statistics import fmean, median, stdev
from typing import Any

from probing.jobs import CHECKED, METRICS, Trial
from probing.trees import CORPORA
from scipy.stats import t as student

from speechft.data.corpora import corpora
from speechft.tasks import TASKS as SUPERB

Record = dict[str, Any]


def speed(trial: Trial, theirs: list[Record], ours: Record) -> Record:
    """Time per update of both sides, and SUPERB's full length from it."""
    task = trial.task
    s3prl = {**per_update(theirs[0]), "evaluation_seconds": evaluation_seconds(theirs[0])}
    own = per_update(ours)
    encoding = ours["encoding"]
    own["encoding_seconds"] = encoding["seconds"] / encoding["encoder_passes"]
    own["evaluation_seconds"] = our_evaluation(trial, ours, own["seconds"])
    distinct = encoding["encoder_passes"]
    read = sum(theirs[0]["utterances"].values())
    result = {
        "updates": {"s3prl": trial.steps, "ours": trial.more_steps or trial.steps},
        "batch": trial.batch * SUPERB[task].published.accumulate,
        "audio_seconds_per_utterance": encoding["audio_seconds"] / distinct,
        "s3prl": s3prl,
        "ours": own,
        "less": s3prl["seconds"] / own["seconds"],
        "less_cpu": s3prl["cpu_seconds"] / own["cpu_seconds"],
        "counted_passes_per_utterance": {
            "s3prl": read / ours["utterances"],
            "ours": encoding["encoder_passes"] / ours["utterances"],
        },
        "full_length": full_length(task, s3prl, own),
    }
    return rounded(result)


def per_update(side: Record) -> Record:
    return {
        "seconds": median(side["update_seconds"]),
        "cpu_seconds": median(side["update_cpu_seconds"]),
        "all_seconds": side["update_seconds"][:20],
    }


def evaluation_seconds(side: Record) -> float:
    """Seconds per utterance that S3PRL scores; its batches there are SUPERB's."""
    runs = side["evaluations"]
    return sum(run["seconds"] for run in runs) / sum(run["utterances"] for run in runs)


def our_evaluation(trial: Trial, ours: Record, update: float) -> float:
    """Seconds per utterance that is scored: all the time that the updates do not explain."""
    spare = ours["cells"][0] - (trial.more_steps or trial.steps) * update
    scored = trial.checks * ours["splits"]["dev"] + ours["splits"]["test"]
    return max(0.0, spare) / scored


def full_length(task: str, s3prl: Record, ours: Record) -> Record:
    """SUPERB's updates and looks at dev, on its whole corpus, with utterances as measured."""
    counts = corpora()[CORPORA[task]].counts
    plan = SUPERB[task].published
    steps, batch = SUPERB[task].plans["superb"].steps, plan.batch * plan.accumulate
    utterances = sum(counts[split] for split in ("train", "dev", "test"))
    looks = plan.checks
    theirs = looks * sum(counts[split] for split in CHECKED[task]) + counts["test"]
    own = looks * counts["dev"] + counts["test"]
    hours = {
        "s3prl": (steps * s3prl["seconds"] + theirs * s3prl["evaluation_seconds"]) / 3600,
        "ours": (
            utterances * ours["encoding_seconds"]
            + steps * ours["seconds"]
            + own * ours["evaluation_seconds"]
        )
        / 3600,
    }
    return {
        "updates": steps,
        "utterances_per_update": batch,
        "utterances": utterances,
        "checks": looks,
        "hours": hours,
        "less": hours["s3prl"] / hours["ours"],
        "passes_per_utterance": {"s3prl": (steps * batch + theirs) / utterances, "ours": 1.0},
    }


def scores(trial: Trial, theirs: list[Record], ours: Record) -> Record:
    """Scores of both sides over seeds, and whether they differ by more than the seeds do."""
    metric = METRICS[trial.task]
    values = {
        "s3prl": [100 * run["evaluations"][-1]["scores"][metric] for run in theirs],
        "ours": [r["value"] for r in ours["results"] if r["metric"] == metric],
    }
    read = sum(sum(run["utterances"].values()) for run in theirs)
    difference, margin = welch(values["ours"], values["s3prl"])
    result = {
        "metric": metric,
        "updates": trial.steps,
        "batch": trial.batch * SUPERB[trial.task].published.accumulate,
        "rate": trial.rate,
        "checks": trial.checks,
        "seeds": list(trial.seeds),
        "utterances": ours["splits"],
        "values": values,
        "mean": {side: fmean(own) for side, own in values.items()},
        "deviation": {side: stdev(own) for side, own in values.items()},
        "difference": difference,
        "margin_95": margin,
        "same": abs(difference) <= margin,
        "passes_per_utterance": {
            "s3prl": read / ours["utterances"],
            "ours": ours["encoding"]["encoder_passes"] / ours["utterances"],
        },
        "seconds": {"s3prl": sum(run["seconds"] for run in theirs), "ours": ours["seconds"]},
    }
    return rounded(result)


def welch(a: list[float], b: list[float]) -> tuple[float, float]:
    """Give the difference of means and half its 95 % interval, variances not assumed equal."""
    parts = [stdev(values) ** 2 / len(values) for values in (a, b)]
    error = math.sqrt(sum(parts))
    if not error:
        return fmean(a) - fmean(b), 0.0
    spread = sum(p**2 / (len(v) - 1) for p, v in zip(parts, (a, b), strict=True))
    return fmean(a) - fmean(b), float(student.ppf(0.975, error**4 / spread)) * error


def ratio_of_rates(results: list[Record], count: int, own: Record) -> Record:
    """What a grid costs against one rate: updates alone, probes with their scoring, evaluations.

    Args:
        results: of one rate and of the grid, in turns.
        count: rates in the grid.
        own: `speed` of IC; an evaluation at full length is one encoding and the updates.
    """
    one, grid = results[::2], results[1::2]
    updates = [min(median(r["update_seconds"]) for r in part) for part in (one, grid)]
    probes = [min(r["cells"][0] for r in part) for part in (one, grid)]
    full = own["full_length"]
    encoding = full["utterances"] * own["ours"]["encoding_seconds"]
    whole = [encoding + full["updates"] * seconds for seconds in updates]
    return rounded(
        {
            "rates": count,
            "rounds": len(one),
            "update_seconds": {"one": updates[0], "grid": updates[1]},
            "probe_seconds": {"one": probes[0], "grid": probes[1]},
            "update_ratio": updates[1] / updates[0],
            "probe_ratio": probes[1] / probes[0],
            "full_length_ratio": whole[1] / whole[0],
        }
    )


def rounded(value: Any) -> Any:
    """Keep five significant digits of every number."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(own) for key, own in value.items()}
    return [rounded(own) for own in value] if isinstance(value, list) else value
