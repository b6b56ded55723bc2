"""How long each probe is trained, with which learning rates: one table per size."""

from __future__ import annotations

from typing import Final, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.stages.evaluation.settings import EvaluateSettings
from speechft.tasks import TASKS
from speechft.training.probe import ProbePlan

_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_RECURRENT_GRID = (1e-3, 1e-4, 1e-5)

T = TypeVar("T")

# steps, utterances per update (SUPERB's effective batch), learning rates, do they fall to 0
Row = tuple[int, int, tuple[float, ...], bool]
PLANS: Final[dict[str, dict[str, Row]]] = {
    # Small encoders, corpora of minutes to hours. On small splits a rate that falls linearly to 0
    # gives better scores and a third of the spread between seeds; the recurrent heads, far from
    # done after so few updates, lose by it.
    "mini": {
        "pr": (400, 16, (3e-2, 1e-2), True),
        "asr": (400, 16, (3e-3,), False),
        "sf": (400, 16, (3e-3,), False),
        "sid": (1000, 32, (1e-1, 3e-2, 1e-2), True),
        "er": (1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), True),
        "ic": (1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), True),
    },
    # SUPERB as S3PRL runs it; only the learning rate is tuned.
    "superb": {
        "pr": (100_000, 32, _GRID, False),
        "asr": (200_000, 16, _RECURRENT_GRID, False),
        "sf": (200_000, 32, _RECURRENT_GRID, False),
        "sid": (200_000, 32, _GRID, False),
        "er": (30_000, 32, _GRID, False),
        "ic": (200_000, 32, _GRID, False),
    },
}


def plan_for(task: str, settings: EvaluateSettings) -> ProbePlan:
    """Give a task's plan: the size's row with the settings' own numbers in its place.

    Raises:
        SettingsError: a setting names a task that is not evaluated.
    """
    steps, batch_size, rates, decay = PLANS[settings.size][task]
    return ProbePlan(
        rates=_chosen("learning_rates", settings.learning_rates, task, rates, settings),
        steps=_chosen("steps", settings.steps, task, steps, settings),
        batch_size=_chosen("batch_size", settings.batch_size, task, batch_size, settings),
        checks=settings.checks,
        decay=decay,
    )


def check_plans(settings: EvaluateSettings) -> None:
    """Refuse unknown tasks, tasks without a plan and numbers that make no sense.

    Raises:
        SettingsError: says which.
    """
    for kind in [TASKS[task] for task in settings.tasks]:
        task = kind.id
        plan = plan_for(task, settings)
        if plan.steps < 1 or plan.batch_size < 1 or not plan.rates or min(plan.rates) <= 0:
            raise SettingsError(
                f"the plan of task {task!r} makes no sense",
                expected="steps, batch_size and learning_rates above 0",
                found=f"{plan.steps} steps, {plan.batch_size} per batch, rates {plan.rates}",
            )


def _chosen(
    key: str, given: T | dict[str, T] | None, task: str, default: T, settings: EvaluateSettings
) -> T:
    if not isinstance(given, dict):
        return default if given is None else given
    for name in given:
        if name not in settings.tasks:
            raise SettingsError(
                f"{key} names the task {name!r}, which is not evaluated",
                hint=did_you_mean(name, settings.tasks),
            )
    return given.get(task, default)
