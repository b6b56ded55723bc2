"""Which jobs a study's rows need, and which encoders the dev splits choose for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from speechft.core.files import read_jsonl
from speechft.pipeline.study.graph import Builder, rows_to_choose
from speechft.pipeline.study.jobs import Job
from speechft.probing.result_files import GRID
from speechft.reporting.study.settings import StudySettings
from speechft.reporting.study.specs import RowSpec
from speechft.reporting.study.table import dev_score

Choices = dict[str, str]


def add_jobs(one: StudySettings, builder: Builder) -> Choices:
    """Add a study's jobs; give what the dev splits have chosen so far."""
    chosen = {
        row.name: best
        for row in rows_to_choose(one)
        if (best := _choose(row.choose, one, builder)) is not None
    }
    for seed in one.seeds:  # one seed after the other, so that what is there soon can be compared
        for row in one.grouped:  # a group's encoders mostly share the front end, which is kept
            encoder = chosen.get(row.name, row.encoder)
            if encoder is not None:
                builder.evaluation(encoder, seed)
                analysis_of(one, builder, row, chosen, seed)
    return chosen


def analysis_of(
    one: StudySettings, builder: Builder, row: RowSpec, chosen: Choices, seed: int
) -> Job | None:
    """Add the analysis of a row beside its row of θ0, if the study wants it and there is one."""
    encoders = {r.name: chosen.get(r.name, r.encoder) for r in one.rows}
    encoder, before = encoders[row.name], encoders.get(row.before)
    if not one.analyze or encoder is None or before is None or encoder == before:
        return None
    return builder.analysis(encoder, before, seed)


def _choose(candidates: Sequence[str], one: StudySettings, builder: Builder) -> str | None:
    """Choose by the suite score on the dev splits, with the first seed; none while they are out.

    A candidate whose training diverged has lost.
    """
    scores = _dev_scores(candidates, one, builder)
    return None if scores is None else max(scores, key=lambda name: scores[name])


def _dev_scores(
    candidates: Sequence[str], one: StudySettings, builder: Builder
) -> dict[str, float] | None:
    """Give the score of every candidate on the dev splits; none while one is out."""
    jobs = {name: builder.evaluation(name, one.seeds[0], False) for name in candidates}
    if any(job in builder.graph.open for job in jobs.values()):
        return None
    return {name: _dev_score(job) for name, job in jobs.items()}


def _dev_score(job: Job) -> float:
    score = dev_score(read_jsonl(job.folder / GRID)) if job.done else math.nan
    return score if math.isfinite(score) else -math.inf


def choices_of(one: StudySettings, builder: Builder) -> dict[str, dict[str, float | None]]:
    """Give the dev scores that every choice was made by; none for what diverged."""
    found = {row.name: _dev_scores(row.choose, one, builder) or {} for row in rows_to_choose(one)}
    return {
        row: {n: round(score, 2) if math.isfinite(score) else None for n, score in own.items()}
        for row, own in found.items()
    }
