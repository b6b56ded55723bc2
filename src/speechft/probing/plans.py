"""A probe's plan: what the task says of itself, with the settings' own numbers in its place."""

from __future__ import annotations

from typing import TypeVar

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.probing.probe import ProbePlan
from speechft.probing.protocols import PROTOCOLS
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

T = TypeVar("T")


def plan_for(task: str, settings: EvaluateSettings) -> ProbePlan:
    """Give a task's plan of the settings' size with the settings' own numbers in its place.

    Under the protocol "s3prl" batches are made, accumulated and evaluated as S3PRL does; a
    `batch_size` of the settings is then the utterances of one batch.

    Raises:
        SettingsError: a setting names a task that is not evaluated.
    """
    kind = TASKS[task]
    plan, own = (
        kind.plans[settings.head_size],
        PROTOCOLS[settings.protocol].plan(kind, settings.head_size),
    )
    batch_size, checks = own.pop("batch_size"), own.pop("checks")
    return ProbePlan(
        rates=_chosen("learning_rates", settings.learning_rates, task, plan.rates, settings),
        steps=_chosen("steps", settings.steps, task, plan.steps, settings),
        batch_size=_chosen("batch_size", settings.batch_size, task, batch_size, settings),
        checks=settings.checks or checks,
        clip=plan.clip,
        weight_decay=plan.weight_decay,
        spec_augment=kind.spec_augment and settings.head_size == "superb",
        **own,
    )


def check_plans(settings: EvaluateSettings) -> None:
    """Refuse unknown tasks, tasks without a plan and numbers that make no sense.

    Raises:
        SettingsError: says which.
    """
    for kind in [TASKS[task] for task in settings.tasks]:
        task = kind.id
        plan = plan_for(task, settings)
        poor = plan.steps < 1 or plan.batch_size < 1 or not plan.rates or min(plan.rates) <= 0
        if kind.trains and poor:
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
