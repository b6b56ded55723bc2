"""What a protocol decides: plan, hidden states, what probes see of them, how dev is scored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from speechft.core.errors import SettingsError
from speechft.core.nearest_names import did_you_mean
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS, ProtocolName, Size, Task
from speechft.tasks.probe_plan import Scheme

if TYPE_CHECKING:
    from lhotse.cut import Cut
    from torch import Tensor

    from speechft.encoders import SpeechEncoder
    from speechft.hidden.dataset_states import Request
    from speechft.hidden.states import SplitStates, States

CHECKS: Final = 10
T = TypeVar("T")
Open = Callable[["SpeechEncoder", Mapping[str, "Request"], str], dict[str, "SplitStates"]]
"""Gives the hidden states of splits, by an encoder and its identity."""


@dataclass(frozen=True)
class ProbePlan:
    """How long and how a probe is trained.

    Attributes:
        rates: the learning rates of the grid.
        steps: updates.
        batch_size: utterances per batch.
        checks: how often the dev split is scored, at equal intervals, the last time at the end.
        clip: largest gradient norm.
        decay: lower the rate linearly to 0 over the steps; SUPERB keeps it constant.
        eval_batch_size: utterances per batch where nothing is trained.
        eval_sorted: put utterances of similar lengths together there; else in their order.
        scheme: how batches are made, see `batches.updates`.
        accumulate: batches per update; an update's loss is the mean of theirs.
        weight_decay: decoupled from the gradient, as in AdamW.
        spec_augment: apply SpecAugment to the weighted sum in training.
        normalize: normalise every frame of the hidden states before they are summed.
    """

    rates: tuple[float, ...]
    steps: int
    batch_size: int
    checks: int = 10
    clip: float = 1.0
    decay: bool = False
    eval_batch_size: int = 64
    eval_sorted: bool = True
    scheme: Scheme = "bucketed"
    accumulate: int = 1
    weight_decay: float = 0.0
    spec_augment: bool = False
    normalize: bool = False

    def factor(self, step: int) -> float:
        """Give what the rates are multiplied with at an update, counted from 1."""
        return (self.steps - step + 1) / self.steps if self.decay else 1.0

    def check_steps(self) -> list[int]:
        """Give the updates after which the dev split is scored."""
        count = max(1, min(self.checks, self.steps))
        return sorted({round(self.steps * (i + 1) / count) for i in range(count)})


class Protocol:
    """The protocol "clean": exact lengths, every choice on dev.

    Attributes:
        name: as in settings.
        means_per_utterance: time means that are kept of each utterance.
    """

    name: ClassVar[ProtocolName] = "clean"
    means_per_utterance: ClassVar[int] = 1

    def find_error(self, encoder: SpeechEncoder) -> SettingsError | None:  # noqa: ARG002
        """Give why an encoder cannot be probed so, if it cannot."""
        return None

    def prepare(self, encoder: SpeechEncoder) -> None:
        """Change what an encoder hears, before anything is asked of it."""

    def plan(self, kind: type[Task], size: Size) -> dict[str, Any]:
        """Give the fields of a task's `ProbePlan` that the protocol decides."""
        plan = kind.plans[size]
        return {
            "batch_size": plan.batch_size,
            "checks": CHECKS,
            "decay": plan.decay,
            "scheme": kind.scheme,
        }

    def open_states(
        self,
        open_: Open,
        encoder: SpeechEncoder,
        requests: Mapping[str, Request],
        pooled: Collection[str],  # noqa: ARG002
        encoder_id: str,
    ) -> dict[str, SplitStates]:
        """Give hidden states as `HiddenStore.open`.

        Args:
            open_: computes or finds them.
            encoder: frozen, in evaluation mode.
            requests: split → what it needs.
            pooled: the splits whose time means are needed.
            encoder_id: identity of the encoder.
        """
        return open_(encoder, requests, encoder_id)

    def view(self, task: Task, cuts: Sequence[Cut], states: SplitStates, *, alone: bool) -> States:  # noqa: ARG002
        """Give the states of a split as a task's probe sees them.

        Args:
            task: says whether it wants time means or frames.
            cuts: of the split.
            states: as `open_states` gives them.
            alone: every utterance is a batch of its own.
        """
        pooled = task.pooled or states.frames is None
        return states.pooled if pooled else cast("States", states.frames)

    def draw_dev(self, task: Task, targets: Sequence[Tensor]) -> list[int] | None:  # noqa: ARG002
        """Give the dev utterances that are scored, some perhaps twice; None for all."""
        return None


def protocol_of(name: ProtocolName) -> Protocol:
    """Give a protocol by its name in settings; S3PRL's quirks are loaded where they are wanted."""
    if name == "clean":
        return Protocol()
    from speechft.probing.s3prl import S3PRL

    return S3PRL()


def plan_for(task: str, settings: EvaluateSettings) -> ProbePlan:
    """Give a task's plan of the settings' size with the settings' own numbers in its place.

    Under the protocol "s3prl" batches are made, accumulated and evaluated as S3PRL does; a
    `batch_size` of the settings is then the utterances of one batch.

    Raises:
        SettingsError: a setting names a task that is not evaluated.
    """
    kind = TASKS[task]
    plan = kind.plans[settings.head_size]
    own = protocol_of(settings.protocol).plan(kind, settings.head_size)
    batch_size, checks = own.pop("batch_size"), own.pop("checks")
    return ProbePlan(
        rates=_chosen("learning_rates", settings.learning_rates, task, plan.rates, settings),
        steps=_chosen("steps", settings.steps, task, plan.steps, settings),
        batch_size=_chosen("batch_size", settings.batch_size, task, batch_size, settings),
        checks=settings.checks or checks,
        clip=plan.clip,
        weight_decay=plan.weight_decay,
        spec_augment=kind.spec_augment and settings.head_size == "superb",
        normalize=settings.normalize and not kind.pooled,
        **own,
    )


def check_plans(settings: EvaluateSettings) -> None:
    """Refuse unknown tasks and metrics, tasks without a plan and numbers that make no sense.

    Raises:
        SettingsError: says which.
    """
    for task in settings.tasks:
        TASKS[task].refuse_metric(settings.select.get(task, ""))
        plan = plan_for(task, settings)
        poor = plan.steps < 1 or plan.batch_size < 1 or not plan.rates or min(plan.rates) <= 0
        if TASKS[task].trains and poor:
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
