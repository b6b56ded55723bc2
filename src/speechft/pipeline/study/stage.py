"""`speechft study`: tables of many encoders over seeds; stages are shared, resumed, in parallel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from speechft.core.errors import SettingsError, SpeechFTError
from speechft.core.launch_settings import LaunchSettings
from speechft.core.locks import work_alone
from speechft.core.logging import get_logger
from speechft.encoders.identity import locate
from speechft.pipeline.execution import Crew, raise_failures
from speechft.pipeline.graph import Graph, Job
from speechft.pipeline.launchers import start_workers
from speechft.pipeline.study.study_file import load_study
from speechft.pipeline.study.study_jobs import Builder
from speechft.pipeline.time_left import foreseen
from speechft.reporting.study.settings import StudySettings

__all__ = ["load_study", "plan_studies", "study"]

log = get_logger(__name__)


def plan_studies(studies: Sequence[StudySettings], root: Path, threads: int = 1) -> Graph:
    """Give the jobs that can be named now: candidates' further seeds wait for the choice.

    Args:
        studies: the studies.
        root: folder of all studies.
        threads: of every training that does not say it itself.

    Raises:
        SettingsError: a stage's settings are wrong.
    """
    graph = Graph()
    for one in studies:
        Builder(one, root, graph, threads).add_jobs()
    return graph


def study(
    studies: Sequence[StudySettings],
    root: Path = Path("runs/studies"),
    launch: LaunchSettings | None = None,
    hours: float | None = None,
) -> list[Path]:
    """Do studies: every stage once, whichever study needs it; what is done is kept.

    One study after the other, so that each is complete as soon as it can be; a process that would
    have to wait for the end of one begins with the next. A job that fails stops only the jobs that
    need it; the next call does what is missing.

    Args:
        studies: the studies.
        root: their folder: `stages/` with a folder per job, and one folder per study.
        launch: who does the jobs; if not given, processes of this machine, one per GPU, or per core
            where there is none.
        hours: of processor time; of each study only as many jobs are done as end within them, as
            far as that is foreseen, and one at least. The next call goes on.

    Returns:
        The studies' folders, each with `measurements.jsonl`, `report.md`, figures, `about.json`.

    Raises:
        SettingsError: settings are wrong, or another process is at work in the folder.
        CheckpointError: an encoder that a study begins with is not there.
        DataError: data of any job is missing or lacks what a task needs.
        SpeechFTError: jobs failed; the message names them.
    """
    import torch

    from speechft.pipeline.study.study_outputs import write_study

    launch = launch or LaunchSettings()
    _refuse_same_names(studies)
    gpus = torch.cuda.device_count()
    count = launch.workers or gpus or max(1, (os.cpu_count() or 1) // launch.threads)
    _check_inputs(studies, root, launch.threads)  # mistakes are said before anything is written
    written: dict[str, Path] = {}
    with work_alone(root):
        with start_workers(
            launch, root, workers=count, threads=launch.threads, gpus=gpus
        ) as workers:
            crew = Crew(workers, threads=launch.threads, divergence=True)
            for place, one in enumerate(studies):
                if _complete(one, root, crew, studies[place + 1 :], launch.threads, hours):
                    # At once, so that a stop later on takes no page away.
                    written[one.name] = write_study(one, root, launch.threads)
        for one in studies:
            if one.name not in written:
                write_study(one, root, launch.threads, partial=True)
        raise_failures(crew.outcome, root, "jobs of the study")
    return list(written.values())


def _check_inputs(studies: Sequence[StudySettings], root: Path, threads: int) -> None:
    """Refuse settings that are wrong, and encoders, data or labels that open jobs lack."""
    from speechft.pipeline.readings import Reading, read, readings_of

    readings: dict[Reading, None] = {}
    for one in studies:
        graph = plan_studies([one], root, threads)
        if graph.open:
            for encoder in one.used:
                locate(encoder)
            graph.refuse_unread()
        readings |= dict.fromkeys(reading for job in graph.open for reading in readings_of(job))
    for reading in readings:
        read(*reading)


def _complete(
    one: StudySettings,
    root: Path,
    crew: Crew,
    later: Sequence[StudySettings],
    threads: int,
    hours: float | None,
) -> bool:
    """Do a study's jobs, then those that its choices ask for; say whether none is missing."""
    done: set[Path] = set()
    while (graph := plan_studies([one], root, threads)).open:
        jobs = [job for job in graph.open if job.folder not in crew.outcome.lost]
        if not jobs:
            return False
        _refuse_again(jobs, done)
        done |= {job.folder for job in jobs}
        log.info("study %s: %d %s to do", one.name, len(jobs), "job" if len(jobs) == 1 else "jobs")
        if hours is not None:
            ends = accumulate(foreseen(graph, one.hours)[job.folder] for job in jobs)
            crew.do(jobs[: max(1, sum(end <= hours for end in ends))])
            return not plan_studies([one], root, threads).open
        crew.do(jobs, spare=plan_studies(later, root, threads).open)
    return True


def _refuse_again(jobs: Sequence[Job], done: set[Path]) -> None:
    """Refuse to do for ever what has ended, and is not the result that was asked for."""
    again = [job for job in jobs if job.folder in done]
    if again:
        raise SpeechFTError(
            f"{again[0].verb} {again[0].name} has ended, and what it left is of something else",
            where=again[0].folder,
            hint="its data or its encoder changed while the study ran: call the study again",
        )


def _refuse_same_names(studies: Sequence[StudySettings]) -> None:
    names = [one.name for one in studies]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise SettingsError(f"two studies are named {twice[0]!r}", hint="they share a folder")
