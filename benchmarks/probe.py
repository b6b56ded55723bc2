"""SUPERB's probes: `speechft evaluate` against S3PRL's own downstream runner.

    python benchmarks/probe.py --s3prl-python s3prl-venv/bin/python --out FILE.json

How to build that environment is said in `s3prl_side.py` and `probing/s3prl_runner.py`. Both sides
get the same trees of synthetic speech (`probing/trees.py`), the same encoder, batches, rates,
updates and number of seeds, protocol "s3prl", one thread each, one side after the other. Measured
are

- time per update at HuBERT Base size (random weights), for IC (pooled), PR and SF, wall and
  processor, medians over updates; and from it SUPERB's full length: its updates, its looks at dev,
  for ours one encoding of the whole corpus, with utterances as long as those measured here;
- passes of the encoder per utterance, counted, and at full length;
- scores of IC and PR with the packaged encoder `tiny-hubert` over seeds;
- what seven learning rates cost against one (IC at Base size): an update, a probe with its
  scoring, and a whole evaluation at full length.

`--quick` takes the packaged encoder everywhere and a few updates: it shows that both sides run.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from probing.figures import ratio_of_rates, scores, speed
from probing.folder import working_folder
from probing.jobs import Trial, our_job, s3prl_jobs
from probing.show import show
from probing.trees import Sizes, lay_out

from speechft.core.files import read_json, write_json
from speechft.encoders import build_encoder
from speechft.encoders.convert import convert
from speechft.encoders.settings import ConvertSettings

DATA = "synthetic:demo"
PACKAGED = "tiny-hubert"
GRID = (1e-3, 1e-1, 1e-2, 1e-4, 1e-5, 1e-6, 1e-7)


@dataclass(frozen=True)
class Plan:
    """What is measured: trials for time and for scores, with their trees."""

    speed: tuple[Trial, ...]
    speed_sizes: Sizes
    score: tuple[Trial, ...]
    score_sizes: Sizes
    rounds: int = 3


FULL = Plan(
    (
        Trial("ic", 4, 32, 1e-3, more_steps=400),
        Trial("pr", 4, 16, 1e-2),
        Trial("sf", 3, 32, 1e-3),
    ),
    Sizes({"train": 11, "valid": 1, "test": 1}, pr=8, sf=16),
    (
        Trial("ic", 240, 8, 3e-3, checks=3, seeds=(0, 1, 2)),
        Trial("pr", 240, 4, 3e-3, checks=3, seeds=(0, 1, 2)),
    ),
    Sizes({"train": 11, "valid": 3, "test": 5}, pr=40, sf=16),
)
QUICK = Plan(
    (
        Trial("ic", 3, 8, 1e-3, more_steps=20),
        Trial("pr", 3, 4, 1e-2),
        Trial("sf", 2, 2, 1e-3),
    ),
    Sizes({"train": 2, "valid": 1, "test": 1}, pr=2, sf=2),
    (
        Trial("ic", 4, 8, 3e-3, checks=2, seeds=(0, 1)),
        Trial("pr", 4, 2, 3e-3, checks=2, seeds=(0, 1)),
    ),
    Sizes({"train": 2, "valid": 1, "test": 1}, pr=2, sf=2),
    rounds=1,
)


def run_side(python: Path | str, script: str, jobs: list[dict[str, Any]], work: Path) -> Any:
    """Run one side in a process of its own; give what it found, job by job."""
    name = script.removesuffix(".py")
    count = len(list(work.glob(f"{name}-*-jobs.json")))
    files = [work / f"{name}-{count}-{part}" for part in ("jobs.json", "out.json", "log")]
    write_json(files[0], jobs)
    environment = {**os.environ, "OMP_NUM_THREADS": str(jobs[0]["threads"])}
    command = [
        str(python),
        str(Path(__file__).parent / "probing" / script),
        str(files[0]),
        str(files[1]),
    ]
    with files[2].open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env=environment, check=False)
    if done.returncode:
        raise SystemExit(files[2].read_text()[-4000:])
    return read_json(files[1])


def compare(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    plan = QUICK if options.quick else FULL
    begin, load = time.time(), os.getloadavg()
    packaged = make_checkpoint(PACKAGED, work / "packaged.pt")
    base: tuple[str, Path] = packaged
    if not options.quick:
        build_encoder({"model_type": "hubert"}, seed=0).save(work / "base")
        base = make_checkpoint(str(work / "base"), work / "base.pt")
    timed = run_trials(options, plan.speed, plan.speed_sizes, base, work / "speed")
    rates = run_rates(options, plan, base[0], work / "speed")
    scored = run_trials(options, plan.score, plan.score_sizes, packaged, work / "score")
    times = {t.task: speed(t, *timed[t.task]) for t in plan.speed}
    return {
        "quick": options.quick,
        "machine": machine(options.threads),
        "load_average": {"before": round(load[0], 2), "after": round(os.getloadavg()[0], 2)},
        "minutes": round((time.time() - begin) / 60, 1),
        "versions": {"ours": {"torch": torch.__version__}, "s3prl": timed["versions"]},
        "data": DATA,
        "encoders": {"speed": base_name(options), "scores": PACKAGED},
        "speed": times,
        "rates": ratio_of_rates(rates, len(GRID), times["ic"]),
        "scores": {t.task: scores(t, *scored[t.task]) for t in plan.score},
    }


def base_name(options: argparse.Namespace) -> str:
    return PACKAGED if options.quick else "HuBERT Base, random weights"


def make_checkpoint(source: str, target: Path) -> tuple[str, Path]:
    convert(ConvertSettings(source=source, target=target, to="s3prl"))
    return source, target


def run_trials(
    options: argparse.Namespace,
    trials: tuple[Trial, ...],
    sizes: Sizes,
    encoder: tuple[str, Path],
    work: Path,
) -> dict[str, Any]:
    """Every trial on both sides: task → (S3PRL's results, ours)."""
    work.mkdir()
    found: dict[str, Any] = {}
    for trial in trials:
        data = lay_out(trial.task, work, DATA, sizes)
        note(f"{work.name}, {trial.task}: S3PRL")
        jobs = s3prl_jobs(trial, encoder[1], data, work / "s3prl", options.threads)
        theirs = run_side(options.s3prl_python.absolute(), "s3prl_runner.py", jobs, work)
        note(f"{work.name}, {trial.task}: speechft")
        job = our_job(trial, encoder[0], data, work / f"ours-{trial.task}", options.threads)
        ours = run_side(sys.executable, "ours.py", [job], work)
        found[trial.task] = (theirs["results"], ours["results"][0])
        found["versions"] = theirs["versions"]
    return found


def run_rates(options: argparse.Namespace, plan: Plan, encoder: str, work: Path) -> Any:
    """IC with one rate and with the grid, in turns, on hidden states that are there already."""
    trial = plan.speed[0]
    data = f"fluent_speech_commands:{work / trial.task / 'fluent_speech_commands_dataset'}"
    jobs = [
        our_job(trial, encoder, data, work / f"rates-{n}-{len(rates)}", options.threads, rates)
        for n in range(plan.rounds)
        for rates in (GRID[:1], GRID)
    ]
    note("seven learning rates")
    return run_side(sys.executable, "ours.py", jobs, work)["results"]


def machine(threads: int) -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return {"processor": name, "cores": os.cpu_count(), "threads": threads}


def note(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--s3prl-python", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few updates of a small encoder")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for trees and logs; else a temporary one")
    options = parser.parse_args()
    with working_folder(options.keep) as work:
        result = compare(options, work)
    sys.stdout.write(show(result))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
