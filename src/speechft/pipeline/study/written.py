"""A study's small files, written from its jobs' results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.analysis.show import summary
from speechft.analysis.stage import RECORDS as ANALYSIS
from speechft.core.files import (
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from speechft.core.provenance import write_provenance
from speechft.data.sources import is_synthetic
from speechft.pipeline.study.choosing import Choices, add_jobs, analysis_of, choices_of
from speechft.pipeline.study.graph import Builder
from speechft.pipeline.study.jobs import Graph, Job, processors_of, seconds_of
from speechft.probing.result_files import RESULTS
from speechft.reporting.study.files import ABOUT, MEASUREMENTS, write_page, write_recipe
from speechft.reporting.study.plots import draw
from speechft.reporting.study.settings import FEATURES, StudySettings
from speechft.reporting.study.specs import RowSpec
from speechft.reporting.study.table import make_table


@dataclass
class _Gathered:
    """What the jobs of a study's rows have found, and which rows have no value and why."""

    measurements: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)

    def add(self, row: RowSpec, one: StudySettings, builder: Builder, chosen: Choices) -> None:
        """Add what is there of a row."""
        encoder = chosen.get(row.name, row.encoder)
        jobs = {s: builder.evaluation(encoder, s) for s in one.seeds if encoder is not None}
        for job in (job for job in jobs.values() if job.done):
            self.measurements += [_measurement(row.name, r) for r in _records(job, RESULTS)]
        for seed in one.seeds:
            analysis = analysis_of(one, builder, row, chosen, seed)
            if analysis is not None and analysis.done:
                self.measurements += _moved(row.name, seed, _records(analysis, ANALYSIS))
            elif analysis is not None and not builder.graph.is_lost(analysis):
                self.missing.append(f"{row.name} beside {row.before}, seed {seed}")
        without = [s for s in one.seeds if s not in jobs or not jobs[s].done]
        gone = [s for s in without if s in jobs and builder.graph.is_lost(jobs[s])]
        lacking = [s for s in without if s not in gone]
        for seeds, names in ((gone, self.diverged), (lacking, self.missing)):
            names += [f"{row.name}, seed {' '.join(map(str, seeds))}"] if seeds else []


def write_study(one: StudySettings, root: Path, partial: bool = False) -> Path:
    """Write the study's small files from its jobs' results.

    Args:
        one: the study.
        root: folder of all studies.
        partial: whether jobs are missing; without any result nothing is written then.

    Returns:
        The study's folder.
    """
    graph = Graph()
    builder = Builder(one, root, graph)
    chosen = add_jobs(one, builder)
    folder, found = root / one.name, _Gathered()
    for row in one.rows:
        found.add(row, one, builder, chosen)
    if partial and not found.measurements:
        return folder
    write_jsonl(folder / MEASUREMENTS, found.measurements)
    recipe = one.model_dump(mode="json", exclude_unset=True)
    write_recipe(folder, recipe)
    table = make_table(one, found.measurements)
    jobs = list(graph.jobs.values())
    about = {
        "chosen": chosen,
        "choices": choices_of(one, builder),
        "missing": found.missing,
        "diverged": found.diverged,
        "synthetic": is_synthetic(one.evaluate.get("data") or ""),
        "jobs": {job.name: job.folder.name for job in jobs if job.done},
        "hours": round(seconds_of(job for job in jobs if job.done) / 3600, 2),
        "processors": processors_of(job for job in jobs if job.done),
        "figures": draw(one, table, folder),
    }
    write_json(folder / ABOUT, about)
    write_text(folder / "report.md", write_page(folder))
    write_provenance(folder, stage="study", settings=recipe)
    return folder


_KEPT = ("seed", "task", "metric", "value", "direction", "split", "items", "learning_rate")
_HASHES = ("encoder_hash", "data_hash", "data")


def _records(job: Job, name: str) -> list[dict[str, Any]]:
    return read_jsonl(job.folder / name)


def _measurement(row: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"row": row, **{k: record[k] for k in (*_KEPT, *_HASHES) if k in record}}


def _moved(row: str, seed: int, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give what an analysis found of a row, in the form of measurements."""
    return [
        {"row": row, "seed": seed, "task": FEATURES, "metric": m, "value": round(value, 4)}
        for m, value in summary(records).items()
    ]
