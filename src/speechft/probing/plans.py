"""How long each probe is trained, with which learning rates: one table per size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

from speechft.core.errors import SettingsError
from speechft.core.nearest import did_you_mean
from speechft.probing.batches import Scheme
from speechft.probing.probe import ProbePlan
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS

_GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_RECURRENT_GRID = (1e-3, 1e-4, 1e-5)

CHECKS: Final = 10

T = TypeVar("T")

# steps, utterances per update (SUPERB's effective batch), learning rates, do they fall to 0
Row = tuple[int, int, tuple[float, ...], bool]
_UNTRAINED: Final[Row] = (0, 0, (), False)
PLANS: Final[dict[str, dict[str, Row]]] = {
    # Small encoders, corpora of minutes to hours. On small splits a rate that falls linearly to 0
    # gives better scores and a third of the spread between seeds; the recurrent heads, far from
    # done after so few updates, lose by it.
    "mini": {
        "pr": (400, 16, (3e-2, 1e-2), True),
        "pc": (400, 16, (3e-2, 1e-2), True),
        "asr": (400, 16, (3e-3,), False),
        "ks": (1000, 32, (1e-1, 3e-2, 1e-2), True),
        "qbe": _UNTRAINED,
        "sid": (1000, 32, (1e-1, 3e-2, 1e-2), True),
        "asv": (400, 32, (3e-3, 1e-3), False),
        "sd": (400, 8, (3e-3, 1e-3), False),
        "ic": (1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), True),
        "sf": (400, 16, (3e-3,), False),
        "er": (1000, 32, (3e-2, 1e-2, 3e-3, 1e-3), True),
    },
    # SUPERB as its configurations say; only the learning rate is tuned. PC is not one of its tasks
    # and is trained as PR is.
    "superb": {
        "pr": (100_000, 32, _GRID, False),
        "pc": (100_000, 32, _GRID, False),
        "asr": (200_000, 32, _RECURRENT_GRID, False),
        "ks": (200_000, 32, _GRID, False),
        "qbe": _UNTRAINED,
        "sid": (200_000, 32, _GRID, False),
        "asv": (200_000, 50, _RECURRENT_GRID, False),
        "sd": (30_000, 32, _RECURRENT_GRID, False),
        "ic": (200_000, 32, _GRID, False),
        "sf": (200_000, 32, _RECURRENT_GRID, False),
        "er": (30_000, 32, _GRID, False),
    },
}
# What differs from plain Adam with the gradient norm clipped at 1 and shuffled batches.
_OPTIMISERS: Final[dict[str, dict[str, Any]]] = {"asv": {"weight_decay": 0.01, "clip": 1000.0}}
_SCHEMES: Final[dict[str, Scheme]] = {"ks": "balanced"}
_AUGMENTED: Final = frozenset({"asr", "sf"})


@dataclass(frozen=True)
class Published:
    """How S3PRL makes batches and when it looks at dev.

    Attributes:
        scheme: of batches.
        batch: utterances per batch.
        accumulate: batches per update.
        eval_batch: utterances per batch where nothing is trained.
        checks: times that dev is scored.
    """

    scheme: Scheme
    batch: int
    accumulate: int
    eval_batch: int
    checks: int


PUBLISHED: Final[dict[str, Published]] = {
    "pr": Published("window", 16, 2, 1, 100),
    "asr": Published("blocks", 32, 1, 1, 100),
    "ks": Published("balanced", 32, 1, 32, 40),
    "sid": Published("shuffled", 8, 4, 1, 40),
    "asv": Published("shuffled", 10, 5, 1, 10),
    "sd": Published("shuffled", 8, 4, 1, 60),
    "ic": Published("shuffled", 32, 1, 32, 40),
    "sf": Published("window", 32, 1, 1, 100),
    "er": Published("shuffled", 4, 8, 4, 30),
}


def plan_for(task: str, settings: EvaluateSettings) -> ProbePlan:
    """Give a task's plan: the size's row with the settings' own numbers in its place.

    Under the protocol "s3prl" batches are made, accumulated and evaluated as S3PRL does; a
    `batch_size` of the settings is then the utterances of one batch.

    Raises:
        SettingsError: a setting names a task that is not evaluated.
    """
    steps, batch_size, rates, decay = PLANS[settings.head_size][task]
    own: dict[str, Any] = dict(_OPTIMISERS.get(task, {}))
    published = PUBLISHED.get(task) if settings.protocol == "s3prl" else None
    if published is None:
        own["scheme"] = _SCHEMES.get(task, "bucketed")
    else:
        own |= {"scheme": published.scheme, "accumulate": published.accumulate}
        batch_size = published.batch
        if published.eval_batch > 1:
            own |= {"eval_batch_size": published.eval_batch, "eval_sorted": False}
    return ProbePlan(
        rates=_chosen("learning_rates", settings.learning_rates, task, rates, settings),
        steps=_chosen("steps", settings.steps, task, steps, settings),
        batch_size=_chosen("batch_size", settings.batch_size, task, batch_size, settings),
        checks=settings.checks or (published.checks if published else CHECKS),
        decay=decay and published is None,
        spec_augment=task in _AUGMENTED and settings.head_size == "superb",
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
