"""What the later steps of a run read, looked at before the first one begins."""

from __future__ import annotations

from pathlib import Path

from speechft.core.logging import get_logger
from speechft.data.sources import is_synthetic, load_data
from speechft.encoders import load_encoder
from speechft.pipeline.graph import Job
from speechft.pipeline.recipe.plan import Plan
from speechft.pipeline.recipe.sizes import lies_ready
from speechft.probing.inputs import DataSet, read_data
from speechft.probing.job import find_refused
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.tasks.base import ProtocolName
from speechft.training.finetune.data import read_task, rehearsal_cuts
from speechft.training.finetune.settings import FinetuneSettings

log = get_logger(__name__)


def check_inputs(plan: Plan) -> None:
    """Read the data of all steps but the next, which looks for itself before it works for hours.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs.
        SettingsError: unknown corpus; hidden states that there is no room for.
        CheckpointError: the encoder that the run begins with cannot be loaded.
    """
    seen: dict[_Reading, DataSet | None] = {}
    room_checked = False
    for step in plan.graph.open[1:]:
        readings = _readings(step)
        for key in readings:
            if key not in seen:
                seen[key] = _read(*key)
        if isinstance(step.settings, EvaluateSettings) and not room_checked:
            _check_room(step.settings, [d for key in readings if (d := seen[key])], plan.out)
            room_checked = True  # the evaluations of a run differ in nothing that counts here


def look_at_labels(plan: Plan) -> tuple[list[str], list[str]]:
    """Read what lies ready of the data of all steps, as a run would before it begins.

    Args:
        plan: the run.

    Returns:
        The data that was read, and the corpora that would have to be scanned first.

    Raises:
        DataError: data is missing or broken, or lacks a split or what a task needs.
        SettingsError: synthetic speech that there is not.
    """
    steps = plan.graph.open
    readings = list(dict.fromkeys(reading for step in steps for reading in _readings(step)))
    names = list(dict.fromkeys(data for _, data, *_ in readings))
    ready = [data for data in names if lies_ready(data)]
    for reading in readings:
        if reading[1] in ready:
            _read(*reading)
    # Of speech that is still to be made nothing can be missing.
    return ready, [d for d in names if d not in ready and not is_synthetic(d)]


_Reading = tuple[str, str, tuple[str, ...], str, float | None]


def _check_room(settings: EvaluateSettings, read: list[DataSet], out: Path) -> None:
    """Refuse hidden states that do not fit before hours of fine-tuning, not behind them."""
    first = settings.encoders[0].sources[0]
    if Path(first).is_relative_to(out) and not Path(first).exists():
        return  # the run makes it itself, and what size it has is not known yet
    refused = find_refused(settings, load_encoder(first), [(data, data.names) for data in read])
    for error in refused.values():
        raise error


def _readings(step: Job) -> list[_Reading]:
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


def _read(
    verb: str, data: str, tasks: tuple[str, ...], protocol: str, hours: float | None
) -> DataSet | None:
    log.debug("%s: looking at %s", verb, data)
    if verb == "rehearse":
        rehearsal_cuts(data, 1.0, 0)
        return None
    if verb == "finetune":
        loaded = load_data(data)
        for task in tasks:
            read_task(TASKS[task], loaded, data, hours)
        return None
    rules: ProtocolName = "s3prl" if protocol == "s3prl" else "clean"
    found = read_data(data, tasks, rules, hashed=False)
    for task in found.names:
        if error := found.label_error(task, rules):
            raise error.at(data)
    return found
