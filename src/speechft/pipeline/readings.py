"""What jobs read of their data, with labels, looked at before any of them begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from speechft.analysis.alpha.settings import AlphaSettings
from speechft.core.logging import get_logger
from speechft.data.data_names import is_synthetic, lies_ready
from speechft.data.load import load_data
from speechft.data.synthetic.espeak import locate
from speechft.merging.alpha import UNLABELLED
from speechft.pipeline.graph import Job
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.tasks.base import ProtocolName
from speechft.training.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from speechft.probing.inputs import DataSet

Reading = tuple[str, str, tuple[str, ...], str, float, float | None]
"""Purpose, DATA, tasks, protocol, longest seconds, hours."""
log = get_logger(__name__)


def look_at_labels(jobs: Iterable[Job]) -> tuple[list[str], list[str]]:
    """Read what lies ready of the data of jobs, as whoever does them would before the first one.

    Args:
        jobs: that are to be done.

    Returns:
        The data that was read, and the corpora that would have to be scanned first.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs,
            or cannot be made.
        SettingsError: synthetic speech that there is not.
    """
    readings = list(dict.fromkeys(reading for job in jobs for reading in readings_of(job)))
    names = list(dict.fromkeys(data for _, data, *_ in readings))
    ready = [data for data in names if lies_ready(data)]
    for reading in readings:
        if reading[1] in ready:
            read(*reading)
    later = [data for data in names if data not in ready]
    if any(is_synthetic(data) for data in later):
        locate()  # of speech that is still to be made nothing is missing but what makes it
    return ready, [data for data in later if not is_synthetic(data)]


def readings_of(job: Job) -> list[Reading]:
    """Give what a job reads with labels."""
    settings = job.settings
    if isinstance(settings, FinetuneSettings):
        longest, rehearsed = settings.max_seconds, settings.rehearsal_data
        own: list[Reading] = [
            (job.verb, data, tasks, "clean", longest, settings.hours)
            for data, tasks in by_data(settings).items()
        ]
        more = ("rehearse", rehearsed or "", (), "clean", longest, settings.rehearsal_seconds)
        return own if rehearsed is None else [*own, more]
    if isinstance(settings, AlphaSettings):
        verb = job.verb if settings.by == UNLABELLED else "evaluate"
        return [(verb, settings.data, settings.tasks, "clean", settings.max_seconds, None)]
    if not isinstance(settings, EvaluateSettings):
        return []
    rules, longest = settings.protocol, settings.max_seconds
    return [(job.verb, d, own, rules, longest, None) for d, own in by_data(settings).items()]


def by_data(settings: FinetuneSettings | EvaluateSettings) -> dict[str, tuple[str, ...]]:
    """Give each DATA with the tasks that read it."""
    specs = list(map(settings.data_of, settings.tasks))
    return {s: tuple(t for t in settings.tasks if settings.data_of(t) == s) for s in specs}


def read(
    verb: str,
    data: str,
    tasks: tuple[str, ...],
    protocol: str,
    longest: float,
    amount: float | None,
) -> DataSet | None:
    """Read the data and labels of a job, as it will; give what an evaluation reads.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs.
        SettingsError: unknown corpus.
    """
    from speechft.probing.inputs import read_data
    from speechft.training.finetune.data import read_task, rehearsal_cuts

    log.debug("%s: looking at %s", verb, data)
    if verb == "alpha":
        load_data(data)
        return None
    if verb == "rehearse":
        rehearsal_cuts(data, amount or 1.0, 0, longest)
        return None
    if verb == "finetune":
        loaded = load_data(data)
        for task in tasks:
            read_task(TASKS[task], loaded, data, amount, longest=longest)
        return None
    rules: ProtocolName = "s3prl" if protocol == "s3prl" else "clean"
    found = read_data(data, tasks, rules, hashed=False, longest=longest)
    for task in found.names:
        if error := found.label_error(task, rules):
            raise error.at(data)
    return found
