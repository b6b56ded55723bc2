"""`speechft study`: tables of many encoders over seeds; stages are shared, resumed, in parallel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from speechft.core.logging import get_logger
from speechft.core.provenance import write_provenance
from speechft.encoders.checkpoints.locate import locate
from speechft.stages.analyze import RECORDS as ANALYSIS
from speechft.stages.analyzing.show import summary
from speechft.stages.evaluate import RESULTS
from speechft.stages.running.state import lock
from speechft.stages.studying.choosing import add_jobs, analysis_of, choices_of
from speechft.stages.studying.claims import Claim, judge
from speechft.stages.studying.execute import Outcome, execute
from speechft.stages.studying.graph import Builder
from speechft.stages.studying.jobs import Graph, Job, seconds_of
from speechft.stages.studying.page import page
from speechft.stages.studying.plots import draw
from speechft.stages.studying.settings import FEATURES, StudySettings, load_study
from speechft.stages.studying.tables import Table, make_table

__all__ = ["StudySettings", "load_study", "plan_studies", "read_study", "study", "write_page"]

MEASUREMENTS, ABOUT, RECIPE, READING = "measurements.jsonl", "about.json", "study.yaml", "notes.md"
log = get_logger(__name__)


def plan_studies(studies: Sequence[StudySettings], root: Path) -> Graph:
    """Give the jobs that can be named now: candidates' further seeds wait for the choice.

    Raises:
        SettingsError: a stage's settings are wrong.
    """
    graph = Graph()
    for one in studies:
        add_jobs(one, Builder(one, root, graph))
    return graph


def study(
    studies: Sequence[StudySettings],
    root: Path = Path("runs/studies"),
    *,
    workers: int = 0,
    threads: int = 1,
) -> list[Path]:
    """Do studies: every stage once, whichever study needs it; what is done is kept.

    One study after the other, so that each is complete as soon as it can be. A job that fails stops
    only the jobs that need it; the next call does what is missing.

    Args:
        studies: the studies.
        root: their folder: `stages/` with a folder per job, and one folder per study.
        workers: processes; 0 for one per core.
        threads: of each process. The last bits of the results depend on it.

    Returns:
        The studies' folders, each with `measurements.jsonl`, `report.md`, figures, `about.json`.

    Raises:
        SettingsError: settings are wrong, or another process is at work in the folder.
        CheckpointError: an encoder that a study begins with is not there.
        SpeechFTError: jobs failed; the message names them.
    """
    if workers < 0 or threads < 1:
        raise SettingsError(
            "there is nobody to do the work",
            expected="workers from 0 on, threads from 1 on",
            found=f"{workers} workers with {threads} threads",
        )
    _refuse_same_names(studies)
    count = workers or max(1, (os.cpu_count() or 1) // threads)
    plan_studies(studies, root)  # mistakes are said before anything is written
    with lock(root):
        for encoder in _needed(studies, root):
            locate(encoder)
        outcome = Outcome()
        written = []
        for one in studies:
            _complete(one, root, count, threads, outcome)
            if not outcome.failed:  # at once, so that a stop later on takes no page away
                written.append(_write(one, root))
        if outcome.failed:
            for one in studies:
                _write(one, root, partial=True)
            raise _failure(outcome, root)
        return written


def _needed(studies: Sequence[StudySettings], root: Path) -> list[str]:
    """Give the encoders that studies with something left to do begin with."""
    left = [one for one in studies if not _is_done(plan_studies([one], root))]
    return list(dict.fromkeys(name for one in left for name in one.used))


def _complete(one: StudySettings, root: Path, workers: int, threads: int, outcome: Outcome) -> None:
    """Do a study's jobs, then those that its choices ask for; add what came of them."""
    while not _is_done(graph := plan_studies([one], root)):
        left = sum(not job.done for job in graph.jobs.values())
        log.info("study %s: %d %s to do", one.name, left, "job" if left == 1 else "jobs")
        lost = {job.folder for job, _ in outcome.failed}
        found = execute(graph, workers, threads, log.info, lost)
        outcome.done += found.done
        outcome.failed += found.failed
        outcome.skipped += found.skipped
        if not found.done:  # what is left needs what failed
            return


def _is_done(graph: Graph) -> bool:
    return all(job.done for job in graph.jobs.values())


def read_study(folder: Path) -> tuple[StudySettings, Table, list[Claim], dict[str, Any]]:
    """Read a finished study's small files, wherever they were copied to."""
    settings = StudySettings.model_validate(yaml.safe_load((folder / RECIPE).read_text("utf-8")))
    table = make_table(settings, read_jsonl(folder / MEASUREMENTS))
    return settings, table, judge(settings, table), read_json(folder / ABOUT)


def write_page(folder: Path, figures: str = "") -> str:
    """Give a finished study's page.

    Args:
        folder: its small files, with `notes.md` where somebody has written a reading.
        figures: prefix of the figures' paths as seen from the page.
    """
    settings, table, claims, about = read_study(folder)
    notes = folder / READING
    reading = notes.read_text("utf-8") if notes.is_file() else ""
    drawn = [(f"{figures}{name}", caption) for name, caption in about["figures"]]
    return page(settings, table, claims, about, drawn, reading)


def _write(one: StudySettings, root: Path, partial: bool = False) -> Path:
    """Write the study's small files from its jobs' results."""
    graph = Graph()
    builder = Builder(one, root, graph)
    chosen = add_jobs(one, builder)
    folder, measurements, missing = root / one.name, [], []
    for row in one.rows:
        encoder = chosen.get(row.name, row.encoder)
        jobs_of = {s: builder.evaluation(encoder, s) for s in one.seeds if encoder is not None}
        for job in (job for job in jobs_of.values() if job.done):
            measurements += [_measurement(row.name, r) for r in _records(job, RESULTS)]
        for seed in one.seeds:
            analysis = analysis_of(one, builder, row, chosen, seed)
            if analysis is None:
                continue
            if analysis.done:
                measurements += _moved(row.name, seed, _records(analysis, ANALYSIS))
            else:
                missing.append(f"{row.name} beside {row.before}, seed {seed}")
        lacking = [str(s) for s in one.seeds if s not in jobs_of or not jobs_of[s].done]
        missing += [f"{row.name}, seed {' '.join(lacking)}"] if lacking else []
    if partial and not measurements:
        return folder
    write_jsonl(folder / MEASUREMENTS, measurements)
    recipe = one.model_dump(mode="json", exclude_unset=True)
    write_text(folder / RECIPE, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    table = make_table(one, measurements)
    jobs = list(graph.jobs.values())
    about = {
        "chosen": chosen,
        "choices": {} if partial else choices_of(one, builder),
        "missing": missing,
        "synthetic": _is_synthetic(one.evaluate.get("data")),
        "jobs": {job.name: job.folder.name for job in jobs if job.done},
        "hours": round(sum(seconds_of(job) for job in jobs if job.done) / 3600, 2),
        "figures": draw(one, table, folder),
    }
    write_json(folder / ABOUT, about)
    write_text(folder / "report.md", write_page(folder))
    write_provenance(folder, stage="study", settings=recipe)
    return folder


def _is_synthetic(data: Any) -> bool:
    specs = data.values() if isinstance(data, Mapping) else [data]
    return any(str(spec).partition(":")[0] == "synthetic" for spec in specs)


def _refuse_same_names(studies: Sequence[StudySettings]) -> None:
    names = [one.name for one in studies]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise SettingsError(f"two studies are named {twice[0]!r}", hint="they share a folder")


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


def _flat(error: str) -> str:
    return "; ".join(" ".join(line.split()) for line in error.splitlines())


def _failure(outcome: Outcome, root: Path) -> SpeechFTError:
    lines = [f"{job.verb} {job.name}: {_flat(error)}" for job, error in outcome.failed[:8]]
    more = f"; {len(outcome.failed) - 8} more" if len(outcome.failed) > 8 else ""
    waiting = f"; {len(outcome.skipped)} that need them were left" if outcome.skipped else ""
    count = len(outcome.failed)
    return SpeechFTError(
        f"{count} job{'s' if count > 1 else ''} of the study failed",
        where=root,
        found="\n    " + "\n    ".join(lines) + more + waiting,
        hint="mend the cause and call it again: what is done is kept",
    )
