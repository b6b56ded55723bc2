"""What the later steps of a run read, looked at before the first one begins."""

from __future__ import annotations

from speechft.core.logging import get_logger
from speechft.data.sources import load_data
from speechft.stages.evaluate import EvaluateSettings
from speechft.stages.evaluation.data import read_splits
from speechft.stages.finetuning.data import read_task, rehearsal_cuts
from speechft.stages.finetuning.settings import FinetuneSettings
from speechft.stages.running.plan import Plan, Step
from speechft.stages.running.state import status
from speechft.tasks import TASKS
from speechft.tasks.base import ProtocolName

log = get_logger(__name__)


def check_inputs(plan: Plan) -> None:
    """Read the data of all steps but the next, which looks for itself before it works for hours.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs.
        SettingsError: unknown corpus.
    """
    seen: set[tuple[object, ...]] = set()
    for step in [s for s in plan.steps if status(plan, s) != "done"][1:]:
        for key in _readings(step):
            if key not in seen:
                seen.add(key)
                _read(*key)


_Reading = tuple[str, str, tuple[str, ...], str, float | None]


def _readings(step: Step) -> list[_Reading]:
    """Give (purpose, DATA, tasks, protocol, hours) of what a step reads."""
    settings = step.settings
    if isinstance(settings, FinetuneSettings):
        own: list[_Reading] = [(step.verb, settings.data, settings.tasks, "clean", settings.hours)]
        rehearsed = settings.rehearsal_data
        return own if rehearsed is None else [*own, ("rehearse", rehearsed, (), "clean", None)]
    if not isinstance(settings, EvaluateSettings):
        return []
    tasks: dict[str, list[str]] = {}
    for task in settings.tasks:
        tasks.setdefault(settings.data_of(task), []).append(task)
    return [(step.verb, d, tuple(own), settings.protocol, None) for d, own in tasks.items()]


def _read(verb: str, data: str, tasks: tuple[str, ...], protocol: str, hours: float | None) -> None:
    log.debug("%s: looking at %s", verb, data)
    if verb == "rehearse":
        rehearsal_cuts(data, 1.0, 0)
        return
    if verb == "finetune":
        loaded = load_data(data)
        for task in tasks:
            read_task(TASKS[task], loaded, data, hours)
        return
    rules: ProtocolName = "s3prl" if protocol == "s3prl" else "clean"
    splits, names = read_splits(data, tasks, rules)
    for task, own in names.items():
        for train in own[::3]:
            TASKS[task].from_cuts(splits[train], rules)
