"""What `make study` costs on this machine, from one job of every kind.

    python benchmarks/study.py --out results/benchmarks/study.json

Jobs differ by stage, task, method, updates and tasks that are scored; of every kind one is done,
with what it needs, by as many processes as `--workers` says, as a study does them. All jobs of all
studies are counted by kind: those that the plan names, and the further seeds of what dev chose,
from the kept studies' `about.json`. An evaluation that another one holds as a part is not counted.
A job's cost is the processor time that its process took, a GPU's waits included; the hours that all
would take are its sum, times the clock's share of the sample. On a GPU, hide it with
`CUDA_VISIBLE_DEVICES=` to have the CPU's figures. The seeds are those of the studies.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from probe import machine, note
from probing.figures import rounded
from probing.folder import working_folder

from speechft.core.files import read_json, write_json
from speechft.stages.study import load_study, plan_studies
from speechft.stages.studying.execute import Crew
from speechft.stages.studying.jobs import DONE, Job

ROOT = Path(__file__).parents[1]
Kind = tuple[str, str, int]


def names() -> list[str]:
    """Give the studies that `make study` does."""
    found = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))
    return [name for name in found if not name.startswith("attempts-")]


def kind_of(job: Job) -> Kind:
    label = job.folder.name.rpartition("-")[0]
    return label, " ".join(job.settings.get("tasks", ())), int(job.settings.get("steps", 0))


def count(jobs: Iterable[Job]) -> Counter[Kind]:
    """Count all jobs by kind, the further seeds of what dev chose too."""
    planned = {job.folder.name: job for job in jobs}
    parts = {job.part.folder.name for job in planned.values() if job.part is not None}
    kinds = Counter(kind_of(job) for name, job in planned.items() if name not in parts)
    usual: dict[str, Kind] = {}
    for kind, _ in kinds.most_common():
        usual.setdefault(kind[0], kind)
    chosen: dict[str, str] = {}
    for study in names():
        kept = read_json(ROOT / "results" / "studies" / study / "about.json")["jobs"]
        chosen |= {folder: name for name, folder in kept.items() if folder not in planned}
    for folder, name in chosen.items():
        label = folder.rpartition("-")[0]
        same = (k for k in kinds if k[0] == label and k[1] and name.endswith(f", {k[1]}"))
        kind = next(same, usual[label])
        if folder not in parts:
            kinds[kind] += 1
    return kinds


def sample(jobs: Iterable[Job]) -> list[Job]:
    """Give one job of every kind and all that they need, parents first."""
    every = {job.folder: job for job in jobs}
    wanted: dict[Path, Job] = {}
    seen: set[Kind] = set()
    # Those that need little first: what they need is of a kind, too. Of them, the long ones.
    verbs = ("pretrain", "evaluate", "finetune", "merge", "analyze")
    order = {job.folder: (len(_needs(job, every)), verbs.index(job.verb)) for job in every.values()}
    for job in sorted(every.values(), key=lambda job: order[job.folder]):
        if kind_of(job) not in seen:
            for one in (*_needs(job, every), job):
                wanted.setdefault(one.folder, one)
                seen.add(kind_of(one))
    return list(wanted.values())


def _needs(job: Job, every: dict[Path, Job]) -> list[Job]:
    found: dict[Path, Job] = {}
    for parent in job.parents:
        for one in (*_needs(every[parent], every), every[parent]):
            found.setdefault(one.folder, one)
    return list(found.values())


def benchmark(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    studies = [load_study(str(ROOT / "studies" / f"{name}.yaml"), []) for name in names()]
    jobs = plan_studies(studies, work / "studies").open
    kinds, chosen = count(jobs), sample(jobs)
    note(f"{len(chosen)} of {sum(kinds.values())} jobs, {options.workers} at a time")
    begin = time.perf_counter()
    with Crew(options.workers, 1, note, torch.cuda.device_count()) as crew:
        crew.do(chosen)
    clock = time.perf_counter() - begin
    if crew.board.outcome.failed:
        raise SystemExit("\n".join(f"{j.name}: {e}" for j, e in crew.board.outcome.failed))
    done = [(kind_of(job), read_json(job.folder / DONE)) for job in chosen]
    taken: dict[Kind, list[float]] = {}
    for kind, record in done:
        taken.setdefault(kind, []).append(float(record["seconds"]))
    cost = {kind: sum(own) / len(own) for kind, own in taken.items()}
    whole = sum(cost[kind] * number for kind, number in kinds.items())
    spent = sum(sum(own) for own in taken.values())
    rows = [
        {"kind": " ".join(map(str, filter(None, k))), "jobs": n, "seconds": cost[k]}
        for k, n in sorted(kinds.items(), key=lambda item: -cost[item[0]] * item[1])
    ]
    about = {**machine(1), "processor": max((r["processor"] for _, r in done), key=len)}
    result = {
        "machine": {**about, "torch": torch.__version__},
        "workers": options.workers,
        "studies": names(),
        "jobs": sum(kinds.values()),
        "sampled": len(chosen),
        "process_hours": whole / 3600,
        "sample_seconds": clock,
        "sample_process_seconds": spent,
        "hours": whole / 3600 * clock / spent,
        "kinds": rows,
    }
    return {key: rounded(value) for key, value in result.items()}


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
    options = parser.parse_args()
    with working_folder(options.keep) as work:
        result = benchmark(options, work)
    sys.stdout.write(show(result))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
