"""What `make study` costs on this machine, from one job of every kind.

    python benchmarks/study.py --out results/benchmarks/study.json

Jobs differ by stage, task, method, updates and tasks that are scored; of every kind one is done,
with what it needs, by as many processes as `--workers` says, as a study does them. All jobs of all
studies are counted by kind: those that the plan names, and the further seeds of what dev chose,
from the kept studies' `about.json`. An evaluation that another one holds as a part is not counted.
A job's cost is its processor time, which other work on the machine hardly changes, or on a GPU, for
which a process waits, what the clock says, its start included. All hours are the sum over the
number of processes, for whom there is work nearly to the end; on a GPU that holds if they do not
slow each other down more than in the sample. `--kinds` does some kinds alone, for lack of time, and
takes others by those of their stage, a fine-tuning by its updates. `--keep` with a folder that is
there goes on in it. On a machine with a GPU, `CUDA_VISIBLE_DEVICES=` gives the CPU's figures. The
seeds are those of the studies.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder

from speechft.core.files import read_json, write_json
from speechft.core.launch_settings import LaunchSettings
from speechft.data.load import load_data
from speechft.pipeline.execution import Crew, raise_failures
from speechft.pipeline.graph import Job
from speechft.pipeline.launchers import start_workers
from speechft.pipeline.study.stage import load_study, plan_studies

ROOT = Path(__file__).parents[1]
Kind = tuple[str, str, int]
VERBS = ("pretrain", "finetune", "merge", "analyze", "evaluate")  # in the order of their needs


def names() -> list[str]:
    """Give the studies that `make study` does."""
    found = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
    others = ("attempts-", "human", "language")  # of no figure of ours, or not on our own encoders
    return [name for name in found if not name.startswith(others)]


def kind_of(job: Job) -> Kind:
    label = job.folder.name.rpartition("-")[0]
    if job.verb == "evaluate":
        return label, " ".join(getattr(job.settings, "tasks", ())), 0
    return label, "", int(getattr(job.settings, "steps", 0)) if job.verb == "finetune" else 0


def count(jobs: Iterable[Job], work: Path) -> Counter[Kind]:
    """Count all jobs by kind, the further seeds of what dev chose too."""
    kinds = Counter(kind_of(job) for job in jobs)
    usual: dict[str, Kind] = {}
    for kind, _ in kinds.most_common():
        usual.setdefault(kind[0], kind)
    chosen: dict[str, str] = {}
    for study in names():
        kept = read_json(ROOT / "results" / "studies" / study / "about.json")["jobs"]
        own = plan_studies([load_study(str(ROOT / "studies" / f"{study}.yaml"), [])], work).jobs
        planned = {job.name for job in own.values()}
        chosen |= {folder: name for name, folder in kept.items() if name not in planned}
    for folder, name in chosen.items():
        label = folder.rpartition("-")[0]
        same = (k for k in kinds if k[0] == label and k[1] and name.endswith(f", {k[1]}"))
        kinds[next(same, usual[label])] += 1
    return kinds


def sample(jobs: Iterable[Job], labels: tuple[str, ...]) -> list[Job]:
    """Give one job of every kind, or of some, and all that they need, parents first."""
    every = {job.folder: job for job in jobs}
    kinds: dict[Kind, list[Job]] = {}
    for job in every.values():
        if not labels or kind_of(job)[0] in labels:
            kinds.setdefault(kind_of(job), []).append(job)
    wanted: dict[Path, Job] = {}
    for kind in sorted(kinds, key=lambda kind: VERBS.index(kind[0].partition("-")[0])):
        if kind not in map(kind_of, wanted.values()):
            missing = [
                [one for one in (*_needs(job, every), job) if one.folder not in wanted]
                for job in kinds[kind]
            ]
            wanted |= {one.folder: one for one in min(missing, key=len)}
    return list(wanted.values())


def _needs(job: Job, every: dict[Path, Job]) -> list[Job]:
    found: dict[Path, Job] = {}
    for parent in job.parents:
        for one in (*_needs(every[parent], every), every[parent]):
            found.setdefault(one.folder, one)
    return list(found.values())


def benchmark(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    studies = [load_study(str(ROOT / "studies" / f"{name}.yaml"), []) for name in names()]
    jobs = list(plan_studies(studies, work / "studies").jobs.values())
    kinds = count(jobs, work / "studies")
    chosen = sample(jobs, options.kinds)
    missing = {job.verb for job in jobs} - {job.verb for job in chosen}
    if missing:
        raise SystemExit(f"--kinds: nothing of the stage {', '.join(sorted(missing))}")
    given = [job.settings.data for job in chosen if hasattr(job.settings, "data")]
    every = [own for data in given for own in (data.values() if isinstance(data, dict) else [data])]
    for spec in dict.fromkeys(map(str, every)):
        load_data(spec)  # synthetic speech is made once, not by the job that happens to be first
    note(f"{len(chosen)} of {sum(kinds.values())} jobs, {options.workers} at a time")
    gpus, root = torch.cuda.device_count(), work / "studies"
    launch = LaunchSettings(workers=options.workers)
    with start_workers(launch, root, workers=options.workers, threads=1, gpus=gpus) as workers:
        crew = Crew(workers, note=note)
        crew.do(chosen)
    raise_failures(crew.outcome, root, "jobs of the benchmark")
    done = [(kind_of(job), job.note) for job in chosen]
    taken: dict[Kind, list[float]] = {}
    clock = "elapsed" if torch.cuda.is_available() else "seconds"
    for kind, record in done:
        taken.setdefault(kind, []).append(float(record[clock]))
    cost = {kind: fmean(own) for kind, own in taken.items()}
    cost |= {kind: _like(kind, cost) for kind in kinds if kind not in cost}
    whole = sum(cost[kind] * number for kind, number in kinds.items())
    rows = [
        {**_said(k), "jobs": n, "seconds": cost[k], "measured": k in taken}
        for k, n in sorted(kinds.items(), key=lambda item: -cost[item[0]] * item[1])
    ]
    about = {**machine(1), "processor": max((r["processor"] for _, r in done), key=len)}
    result = {
        "machine": {**about, "torch": torch.__version__},
        "workers": options.workers,
        "studies": names(),
        "jobs": sum(kinds.values()),
        "sampled": len(chosen),
        "measured_share": sum(cost[k] * kinds[k] for k in kinds if k in taken) / whole,
        "process_hours": whole / 3600,
        "hours": whole / 3600 / options.workers,
        "kinds": rows,
    }
    return {key: rounded(value) for key, value in result.items()}


def _said(kind: Kind) -> dict[str, str]:
    label, tasks, steps = kind
    return {"kind": " ".join(filter(None, (label, tasks, f"{steps} updates" if steps else "")))}


def _like(kind: Kind, cost: dict[Kind, float]) -> float:
    """Give what a kind that was not done takes, by those of its stage.

    A fine-tuning by its updates, an evaluation as that of the nearest number of tasks.
    """
    verb, tasks, steps = kind[0].partition("-")[0], len(kind[1].split()), kind[2]
    same = [(k, own) for k, own in cost.items() if k[0].partition("-")[0] == verb]
    if steps:
        return steps * fmean(own / k[2] for k, own in same)
    return min(same, key=lambda item: abs(len(item[0][1].split()) - tasks))[1]


def show(result: dict[str, Any]) -> str:
    lines = [f"{'seconds':>8}{'jobs':>6}  kind"]
    lines += [f"{row['seconds']:8.1f}{row['jobs']:6d}  {row['kind']}" for row in result["kinds"]]
    lines += [
        "",
        f"{result['machine']['processor']}, {result['workers']} processes",
        f"{result['jobs']} jobs: {result['process_hours']:.1f} h of processes, "
        f"{result['hours']:.1f} h by the clock",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--keep", type=Path, help="folder for all files; else a temporary one")
    parser.add_argument("--kinds", default="", help="some kinds alone, such as finetune-sid-stable")
    options = parser.parse_args()
    options.kinds = tuple(filter(None, options.kinds.split(",")))
    there = options.keep is not None and options.keep.is_dir()
    with nullcontext(options.keep) if there else working_folder(options.keep) as work:
        result = benchmark(options, work.absolute())
    sys.stdout.write(show(result))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
