"""Alpha from data: the predicted sweep beside the real one, and what each way chooses.

    python benchmarks/alpha.py --out results/benchmarks/alpha.json

θ' is the packaged encoder after a stable fine-tuning on synthetic:demo. Probes at every point of a
grid are the real sweep (`--by probe`), with two seeds, since a rank correlation can be no higher
than that of two real sweeps. Beside it stand the scores on predicted states of both ends (`--by
interpolated`), and the drift of hidden states that two passes predict (`--by similarity`), each
with its passes over the audio and processor time. The error of predicted states is given by layer
at every point, in standard deviations of the real ones.

Human speech, with a fine-tuned encoder of the study `human`, in a folder with its data:

    python benchmarks/alpha.py --base data/whisper-base-encoder --context utterance \\
        --run runs/studies/stages/finetune-sid-stable-… --data fillets:data/human@cs \\
        --fewer 160 96 --tasks sid,pr --probe-steps sid=300,pr=120 \\
        --out results/benchmarks/alpha-human.json

`--fewer` takes so many utterances of SID's training and dev splits, for all tasks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder
from scipy.stats import spearmanr

from speechft.analysis.alpha.by_similarity import drift, overall, predicted, relative_error
from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.alpha.stage import choose_alpha, unlabelled
from speechft.analysis.alpha.states import open_way
from speechft.core.files import read_json, write_json, write_jsonl
from speechft.core.settings import parse_settings
from speechft.data.load import load_data
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune

GRID = (0.1, 0.25, 0.5, 0.75, 0.9)
Figures = dict[str, Any]


def choose(values: Figures, work: Path, name: str, **more: Any) -> Figures:
    """Choose an alpha, and say what it cost; a choice that is there costs what it did."""
    out = work / name
    settings = parse_settings(AlphaSettings, {**values, **more, "out": out}, where=name)
    cost = out.with_suffix(".cost.json")
    begun = time.process_time()
    choose_alpha(settings)
    if not cost.exists():
        write_json(cost, {"processor_seconds": round(time.process_time() - begun, 1)})
    note(f"{name} is done")
    return read_json(out / "alpha.json") | read_json(cost)


def columns(found: Figures) -> dict[str, list[float]]:
    """Give the scores of every task, and their mean, over the grid."""
    count = found["columns"].index("mean")
    return {found["columns"][i]: [row[i] for row in found["rows"]] for i in range(1, count + 1)}


def beside(real: Figures, other: Figures) -> Figures:
    """Give rank correlation and errors of one sweep against another, task by task."""
    ours, theirs = columns(other), columns(real)
    return {
        task: {
            "real": theirs[task],
            "other": ours[task],
            "rank_correlation": correlation(theirs[task], ours[task]),
            "worst_error": max(abs(a - b) for a, b in zip(theirs[task], ours[task], strict=True)),
        }
        for task in theirs
    }


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Give Spearman's rank correlation; none where one of the two never changes."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return float(spearmanr(first, second).statistic)


def states(values: Figures, work: Path) -> Figures:
    """Give the drift and the error of predicted states at every point, by layer."""
    settings = parse_settings(AlphaSettings, {**values, "out": work / "none"}, where="states")
    cuts, found = unlabelled(settings), {}
    with open_way(settings, "cpu") as way:
        start, end = (way.sample(alpha, cuts) for alpha in (0.0, 1.0))
        full = overall(drift(start, end))
        for alpha in GRID:
            real = way.sample(alpha, cuts)
            error = relative_error([(predicted(start, end, alpha), real, real)]).tolist()
            drifts = {"expected": alpha * full, "measured": overall(drift(start, real))}
            found[f"{alpha:g}"] = {**drifts, "error_by_layer": error}
    own = list(found.values())
    return {
        "drift_at_1": full,
        "rank_correlation_of_drift": correlation(*([o[k] for o in own] for k in drifts)),
        "worst_error_of_drift": max(abs(one["expected"] - one["measured"]) for one in own),
        "points": found,
    }


def measure(options: argparse.Namespace, work: Path) -> Figures:
    """Fine-tune, and do all sweeps."""
    tuning = {"encoder": options.base, "task": options.task, "data": options.data}
    run, data = options.run or work / "run", options.data
    if options.context is None:
        tuning |= {"steps": options.steps, "seconds": 16, "head_size": "mini"}
        tuning["learning_rate"] = 2e-4
        finetune(FinetuneSettings(**tuning, threads=1, out=run))
        note("the fine-tuning is done")
    if options.fewer:
        data = str(write_fewer(data, options.fewer, work / "fewer.jsonl"))
    values: Figures = {"base": options.base, "tuned": [run], "data": data, "device": "cpu"}
    values |= {"utterances": options.utterances, "context": options.context}
    likeness = states(values, work)
    note("the states are measured")
    similar = choose(values, work, "similarity")
    probes: Figures = {
        "store": str(options.store or work / "store")
    }  # the second seed reads what the first wrote
    if options.probe_steps:
        probes["steps"] = options.probe_steps
    values.pop("utterances")
    scored = {"tasks": options.tasks, "alphas": GRID, "probe": probes}
    sweeps = [choose(values, work, f"probe-{s}", by="probe", seed=s, **scored) for s in (0, 1)]
    guess = choose(values, work, "interpolated", by="interpolated", passes=0, **scored)
    means = columns(sweeps[0])["mean"]
    points = [float(row[0]) for row in sweeps[0]["rows"]]
    ways = {"real": sweeps[0], "real, other seed": sweeps[1], "interpolated": guess}
    return {
        "machine": machine(1),
        "fine_tuning": {k: v for k, v in tuning.items() if k != "out"},
        "alphas": points,
        "utterances": options.utterances,
        "fewer": options.fewer,
        "probe_steps": options.probe_steps,
        "interpolated": beside(sweeps[0], guess),
        "other_seed": beside(sweeps[0], sweeps[1]),
        "states": likeness,
        "chosen": {
            name: {
                "alpha": one["alpha"],
                "passes": one["passes"],
                "processor_seconds": one["processor_seconds"],
            }
            for name, one in {**ways, "similarity": similar}.items()
        },
        "real_mean_at": {f"{a:g}": m for a, m in zip(points, means, strict=True)},
    }


def write_fewer(data: str, counts: Sequence[int], table: Path) -> Path:
    """Write a table of some utterances of SID's training and dev splits, and of few to test."""
    splits = load_data(data)
    random = np.random.default_rng(0)
    rows = []
    for split, count in zip(("train", "dev", "test"), (*counts, 16), strict=True):
        cuts = list(splits[f"sid_{split}"])
        for i in sorted(random.permutation(len(cuts))[:count].tolist()):
            (said,) = cuts[i].supervisions
            audio = str(Path(cuts[i].recording.sources[0].source).absolute())
            labels = {"speaker": said.speaker, "phonemes": " ".join(said.custom["phonemes"])}
            rows.append({"audio": audio, "split": split, **labels})
    write_jsonl(table, rows)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="synthetic:demo")
    parser.add_argument("--task", default="sid")
    parser.add_argument("--tasks", default="sid,er", type=lambda text: text.split(","))
    parser.add_argument("--steps", default=400, type=int)
    parser.add_argument("--utterances", default=50, type=int, help="of which states are measured")
    parser.add_argument("--run", type=Path, help="the fine-tuning's folder, where it may be done")
    parser.add_argument("--store", type=Path, help="hidden states of an earlier call")
    parser.add_argument("--base", default="tiny-hubert")
    parser.add_argument("--context", help="of Whisper's encoder; then --run is its fine-tuning")
    parser.add_argument("--fewer", nargs=2, type=int, metavar=("TRAIN", "DEV"))
    parser.add_argument("--probe-steps", help="updates of the probes, by task")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for the work; else a temporary one")
    options = parser.parse_args()
    with working_folder(options.keep) as work:
        result = rounded(measure(options, work))
    if options.out is not None:
        write_json(options.out, result)
    for name, one in result["interpolated"].items():
        sys.stdout.write(f"{name}: rank {one['rank_correlation']}, worst {one['worst_error']}\n")
    for name, one in result["chosen"].items():
        sys.stdout.write(f"{name}: {one}\n")


if __name__ == "__main__":
    main()
