"""What a study has to do: jobs, each a stage with its settings and a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from speechft.analysis.settings import AnalyzeSettings
from speechft.analysis.stage import analyze
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl
from speechft.core.settings import Settings
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.probing.evaluate import evaluate
from speechft.probing.result_files import GRID, RESULTS
from speechft.probing.settings import EvaluateSettings
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune
from speechft.training.pretrain.settings import PretrainSettings
from speechft.training.pretrain.stage import pretrain

VERBS: Final[dict[str, tuple[type[Settings], Callable[[Any], Path]]]] = {
    "pretrain": (PretrainSettings, pretrain),
    "finetune": (FinetuneSettings, finetune),
    "merge": (MergeSettings, merge),
    "evaluate": (EvaluateSettings, evaluate),
    "analyze": (AnalyzeSettings, analyze),
}
DONE: Final = ".done"
DIVERGED: Final = ".diverged"


@dataclass(frozen=True)
class Job:
    """One stage of one seed.

    Attributes:
        name: for people ("sid-stable, seed 1").
        verb: the stage.
        settings: its settings, as plain values.
        folder: what it writes; its name holds the hash of what the result depends on.
        key: that hash.
        parents: folders of the jobs that must be done before.
        part: the same evaluation on some of its tasks alone, whose result is a part of this one's;
            alone it has the same digits if the other tasks read no further splits of its data,
            which would make other batches.
    """

    name: str
    verb: str
    settings: dict[str, Any]
    folder: Path
    key: str
    parents: tuple[Path, ...]
    part: Job | None = None

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / DONE).is_file()

    @property
    def diverged(self) -> bool:
        """Whether its training came to no numbers; it would do so again."""
        return (self.folder / DIVERGED).is_file()


@dataclass
class Graph:
    """The jobs of some studies, by folder, parents first."""

    jobs: dict[Path, Job] = field(default_factory=dict)

    def add(self, job: Job) -> Job:
        """Add a job, unless another study has added it."""
        return self.jobs.setdefault(job.folder, job)

    def is_lost(self, job: Job) -> bool:
        """Say whether there will be no result, since the job or one before it has diverged."""
        return job.diverged or any(self.is_lost(self.jobs[parent]) for parent in job.parents)

    @property
    def open(self) -> list[Job]:
        """The jobs that are neither done nor lost."""
        return [job for job in self.jobs.values() if not job.done and not self.is_lost(job)]


def finish(job: Job, taken: Mapping[str, Any]) -> None:
    """Note that a job's result is there; so is that of its part.

    Args:
        job: the job.
        taken: "seconds" of processor time, "elapsed" seconds, and the "processor".
    """
    if job.part is not None and not job.part.done:
        tasks = job.part.settings["tasks"]
        for name in (RESULTS, GRID):
            records = read_jsonl(job.folder / name)
            write_jsonl(job.part.folder / name, (r for r in records if r["task"] in tasks))
        about = {"key": job.part.key, "verb": job.verb, **taken, "part_of": job.folder.name}
        write_json(job.part.folder / DONE, about)
    write_json(job.folder / DONE, {"key": job.key, "verb": job.verb, **taken})


def give_up(job: Job, error: str) -> None:
    """Note that a job's training has diverged."""
    write_json(job.folder / DIVERGED, {"key": job.key, "verb": job.verb, "error": error})


def seconds_of(jobs: Iterable[Job]) -> float:
    """Give how long finished jobs took together, in seconds; of a part, what the whole took."""
    records = {job.folder.name: read_json(job.folder / DONE) for job in jobs}
    wholes: dict[str, float] = {}
    for name, record in records.items():
        whole = record.get("part_of", name)  # its time twice, unless it was stopped in between
        wholes[whole] = max(float(record["seconds"]), wholes.get(whole, 0.0))
    return sum(wholes.values())


def processors_of(jobs: Iterable[Job]) -> list[str]:
    """Name the processors that finished jobs ran on."""
    return sorted({read_json(job.folder / DONE).get("processor", "") for job in jobs} - {""})
