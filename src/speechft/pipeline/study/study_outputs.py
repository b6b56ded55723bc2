"""A study's small files, written from its jobs' results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechft.analysis.settings import RECORDS as ANALYSIS
from speechft.analysis.table import summary
from speechft.core.artifact import Artifact
from speechft.core.files import (
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from speechft.data.data_names import is_synthetic
from speechft.pipeline.graph import Graph, Job
from speechft.pipeline.study.study_jobs import Builder, Choices
from speechft.probing.hardly_learned import ANSWERED
from speechft.probing.heard_shares import ALL_SHARES
from speechft.probing.settings import RESULTS
from speechft.reporting.study.files import ABOUT, MEASUREMENTS, write_page, write_recipe
from speechft.reporting.study.plots import draw
from speechft.reporting.study.settings import FEATURES, StudySettings
from speechft.reporting.study.stage_and_row_settings import RowSpec
from speechft.reporting.study.table import make_table


@dataclass
class _Gathered:
    """What the jobs of a study's rows have found, and which rows have no value and why."""

    measurements: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    diverged: list[str] = field(default_factory=list)

    def add(self, row: RowSpec, builder: Builder, chosen: Choices) -> None:
        """Add what is there of a row."""
        encoder, graph = chosen.get(row.name, row.encoder), builder.graph
        without: dict[str, list[int]] = {"missing": [], "diverged": []}
        for seed in builder.study.seeds:
            jobs = [] if encoder is None else builder.evaluations(encoder, seed)
            for job in jobs:
                if graph.is_done(job):
                    column = builder.column_of.get(job.folder)
                    named = {} if column is None else {"task": column}
                    records = _read(job, RESULTS)
                    self.measurements += [_measurement(row.name, r) | named for r in records]
            if not jobs or not all(graph.is_done(job) for job in jobs):
                lost = any(graph.is_lost(job) for job in jobs)
                without["diverged" if lost else "missing"].append(seed)
        for seed in builder.study.seeds:
            analysis = builder.analysis(row, chosen, seed)
            if analysis is not None and graph.is_done(analysis):
                self.measurements += _moved(row.name, seed, _read(analysis, ANALYSIS))
            elif analysis is not None and not graph.is_lost(analysis):
                self.missing.append(f"{row.name} beside {row.before}, seed {seed}")
        for names, seeds in (
            (self.diverged, without["diverged"]),
            (self.missing, without["missing"]),
        ):
            names += [f"{row.name}, seed {' '.join(map(str, seeds))}"] if seeds else []


def write_study(one: StudySettings, root: Path, threads: int = 1, partial: bool = False) -> Path:
    """Write the study's small files from its jobs' results.

    Args:
        one: the study.
        root: folder of all studies.
        threads: of every training that does not say it itself.
        partial: whether jobs are missing; without any result nothing is written then.

    Returns:
        The study's folder.
    """
    graph = Graph()
    builder = Builder(one, root, graph, threads)
    chosen = builder.add_jobs()
    folder, found = root / one.name, _Gathered()
    for row in one.rows:
        found.add(row, builder, chosen)
    if partial and not found.measurements:
        return folder
    write_jsonl(folder / MEASUREMENTS, found.measurements)
    recipe = one.model_dump(mode="json", exclude_unset=True)
    write_recipe(folder, recipe)
    table = make_table(one, found.measurements)
    done = [job for job in graph.jobs.values() if graph.is_done(job)]
    about = {
        "chosen": chosen,
        "choices": choices_of(builder),
        "missing": found.missing,
        "diverged": found.diverged,
        "synthetic": is_synthetic(one.evaluate.get("data") or ""),
        "jobs": {job.name: job.folder.name for job in done},
        "hours": round(sum(float(job.note.get("seconds", 0)) for job in done) / 3600, 2),
        "processors": sorted({str(job.note.get("processor", "")) for job in done} - {""}),
        "figures": draw(one, table, folder),
    }
    write_json(folder / ABOUT, about)
    write_text(folder / "report.md", write_page(folder))
    Artifact(folder, "study", {"name": one.name}).end([MEASUREMENTS], settings=recipe)
    return folder


def choices_of(builder: Builder) -> dict[str, dict[str, float | None]]:
    """Give the dev scores that every choice was made by; none for what diverged."""
    rows = [row for row in builder.study.rows if row.choose]
    return {
        row.name: {
            name: round(score, 2) if math.isfinite(score) else None
            for name, score in (builder.dev_scores(row.choose) or {}).items()
        }
        for row in rows
    }


_ALONE = ("seed", "task", "metric", "value", "direction", "split", "items", "learning_rate")
_KEPT = (*_ALONE, ANSWERED, *ALL_SHARES)
_HASHES = ("encoder_hash", "data_hash", "data")


def _read(job: Job, name: str) -> list[dict[str, Any]]:
    return read_jsonl(job.folder / name)


def _measurement(row: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"row": row, **{k: record[k] for k in (*_KEPT, *_HASHES) if k in record}}


def _moved(row: str, seed: int, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Give what an analysis found of a row, in the form of measurements."""
    return [
        {"row": row, "seed": seed, "task": FEATURES, "metric": m, "value": round(value, 4)}
        for m, value in summary(records).items()
    ]
