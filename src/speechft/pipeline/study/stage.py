"""`speechft study`: tables of many encoders over seeds; stages are shared, resumed, in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.logging import get_logger
from speechft.encoders.formats.locate import locate
from speechft.pipeline.recipe.state import lock
from speechft.pipeline.study.board import Outcome
from speechft.pipeline.study.choosing import add_jobs
from speechft.pipeline.study.execute import Crew
from speechft.pipeline.study.graph import Builder
from speechft.pipeline.study.jobs import Graph
from speechft.pipeline.study.reading import load_study
from speechft.pipeline.study.written import write_study
from speechft.reporting.study.settings import StudySettings

__all__ = ["load_study", "plan_studies", "study"]

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

    One study after the other, so that each is complete as soon as it can be; a process that would
    have to wait for the end of one begins with the next. A job that fails stops only the jobs that
    need it; the next call does what is missing.

    Args:
        studies: the studies.
        root: their folder: `stages/` with a folder per job, and one folder per study.
        workers: processes; 0 for one per GPU, or per core where there is none.
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
    count = workers or torch.cuda.device_count() or max(1, (os.cpu_count() or 1) // threads)
    plan_studies(studies, root)  # mistakes are said before anything is written
    with lock(root):
        for encoder in _needed(studies, root):
            locate(encoder)
        written: dict[str, Path] = {}
        with Crew(count, threads, log.info, torch.cuda.device_count()) as crew:
            for place, one in enumerate(studies):
                if _complete(one, root, crew, studies[place + 1 :]):
                    # At once, so that a stop later on takes no page away.
                    written[one.name] = write_study(one, root)
        if crew.board.lost:
            for one in studies:
                if one.name not in written:
                    write_study(one, root, partial=True)
            raise _failure(crew.board.outcome, root)
        return list(written.values())


def _needed(studies: Sequence[StudySettings], root: Path) -> list[str]:
    """Give the encoders that studies with something left to do begin with."""
    left = [one for one in studies if plan_studies([one], root).open]
    return list(dict.fromkeys(name for one in left for name in one.used))


def _complete(one: StudySettings, root: Path, crew: Crew, later: Sequence[StudySettings]) -> bool:
    """Do a study's jobs, then those that its choices ask for; say whether none is missing."""
    while left := plan_studies([one], root).open:
        jobs = [job for job in left if job.folder not in crew.board.lost]
        if not jobs:
            return False
        log.info("study %s: %d %s to do", one.name, len(jobs), "job" if len(jobs) == 1 else "jobs")
        crew.do(jobs, spare=plan_studies(later, root).open)
    return True


def _refuse_same_names(studies: Sequence[StudySettings]) -> None:
    names = [one.name for one in studies]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise SettingsError(f"two studies are named {twice[0]!r}", hint="they share a folder")


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
