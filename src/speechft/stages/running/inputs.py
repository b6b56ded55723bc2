"""What the later steps of a run read, looked at before the first one begins."""

from __future__ import annotations

from speechft.core.logging import get_logger
from speechft.stages.evaluate import EvaluateSettings
from speechft.stages.evaluation.data import read_splits
from speechft.stages.finetune import FinetuneSettings, read_cuts
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


def _readings(step: Step) -> list[tuple[str, str, tuple[str, ...], str]]:
    """Give (verb, DATA, tasks, protocol) of what a step reads."""
    settings = step.settings
    if isinstance(settings, FinetuneSettings):
        return [(step.verb, settings.data, (settings.task,), "clean")]
    if not isinstance(settings, EvaluateSettings):
        return []
    tasks: dict[str, list[str]] = {}
    for task in settings.tasks:
        tasks.setdefault(settings.data_of(task), []).append(task)
    return [(step.verb, d, tuple(own), settings.protocol) for d, own in tasks.items()]


def _read(verb: str, data: str, tasks: tuple[str, ...], protocol: str) -> None:
    log.debug("%s: looking at %s", verb, data)
    if verb == "finetune":
        kind = TASKS[tasks[0]]
        cuts, _ = read_cuts(kind, data)
        kind.from_cuts(cuts)
        return
    rules: ProtocolName = "s3prl" if protocol == "s3prl" else "clean"
    splits, names = read_splits(data, tasks, rules)
    for task, own in names.items():
        for train in own[::3]:
            TASKS[task].from_cuts(splits[train], rules)
