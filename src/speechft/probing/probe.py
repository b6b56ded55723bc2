"""Probing: train a head on cached hidden states, many learning rates on one cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, tee
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from speechft.core.errors import SettingsError
from speechft.core.seeding import derive_seed, seeded
from speechft.heads.spec_augment import SpecAugment
from speechft.hidden.states import States
from speechft.metrics.measures import better
from speechft.probing.batches import Trained, eval_batches, updates
from speechft.probing.feed import feed, quick_recurrence
from speechft.probing.stack import Parameters, Probe, ProbeStack, can_stack
from speechft.tasks.plans import Scheme


class ProbeTask(Protocol):
    """What a probe needs to know about a task."""

    metrics: ClassVar[tuple[str, ...]]

    def loss(self, logits: Tensor, lengths: Tensor | None, targets: Sequence[Tensor]) -> Tensor:
        """Give the mean loss of a batch."""

    def decode(self, logits: Tensor, lengths: Tensor | None) -> list[Any]:
        """Give one prediction per item."""

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Give every metric in percent."""


@dataclass(frozen=True)
class Split:
    """One split for a probe.

    Attributes:
        states: of every utterance.
        targets: one per utterance; may be empty where nothing is trained.
        references: one per utterance.
        samples: of audio in each utterance; only some schemes of batches ask for them.
        draws: the utterances that are scored, some of them more than once; all if not given.
    """

    states: States
    targets: list[Tensor]
    references: list[Any]
    samples: list[int] = field(default_factory=list)
    draws: list[int] | None = None


@dataclass(frozen=True)
class ProbePlan:
    """How long and how a probe is trained.

    Attributes:
        rates: the learning rates of the grid.
        steps: updates.
        batch_size: utterances per update.
        checks: how often the dev split is scored, at equal intervals, the last time at the end.
        clip: largest gradient norm.
        decay: lower the rate linearly to 0 over the steps; SUPERB keeps it constant.
        eval_batch_size: utterances per batch where nothing is trained.
        eval_sorted: put utterances of similar lengths together there; else in their order.
        scheme: how batches are made, see `probe_batches.updates`.
        accumulate: batches per update; an update's loss is the mean of theirs.
        weight_decay: decoupled from the gradient, as in AdamW.
        spec_augment: apply SpecAugment to the weighted sum in training.
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

    def factor(self, step: int) -> float:
        """Give what the rates are multiplied with at an update, counted from 1."""
        return (self.steps - step + 1) / self.steps if self.decay else 1.0

    def check_steps(self) -> list[int]:
        """Give the updates after which the dev split is scored."""
        count = max(1, min(self.checks, self.steps))
        return sorted({round(self.steps * (i + 1) / count) for i in range(count)})


@dataclass
class ProbeResult:
    """What a grid search found.

    Attributes:
        rate: the learning rate chosen on dev.
        step: the update chosen on dev.
        dev: every dev metric at that point.
        weights: the probe's weights at that point, under the names of `Probe`.
        grid: one record per learning rate and check.
        skipped: learning rate → updates skipped because the gradient was not finite.
    """

    rate: float
    step: int
    dev: dict[str, float]
    weights: Parameters
    grid: list[dict[str, Any]] = field(default_factory=list)
    skipped: dict[float, int] = field(default_factory=dict)


def probe(
    task: ProbeTask,
    build_head: Callable[[], nn.Module],
    train: Split,
    dev: Split,
    plan: ProbePlan,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[], None] | None = None,
    choose: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]] | None = None,
) -> ProbeResult:
    """Train one probe per learning rate on the same batches and choose by the dev split.

    All rates start from the same weights. The best value of the first metric that `choose` gives,
    over all rates and checks, wins; on a tie the earlier check, then the rate that stands first in
    the plan.

    Args:
        task: loss, decoding and metrics.
        build_head: gives a fresh head; called under the seed.
        train: the training split.
        dev: the split that chooses.
        plan: rates, steps, batch size.
        seed: of initial weights, batches and dropout.
        device: where heads are trained.
        on_step: called after every update, for progress.
        choose: gives the metrics of the dev split; the task's `score` if not given.

    Raises:
        SettingsError: there is nothing to do (no update, no learning rate).
    """
    stacks = _start(build_head, train.states, plan, seed, torch.device(device))
    checks = set(plan.check_steps())
    random = (nn.Dropout, SpecAugment)
    drops = any(isinstance(part, random) for part in stacks[0].module.modules())
    score = task.score if choose is None else choose
    best: ProbeResult | None = None
    grid: list[dict[str, Any]] = []
    ours, coming = tee(_updates(train, plan, seed))
    fed = feed(train.states, chain.from_iterable(coming), device)
    with quick_recurrence(train.states, device):
        for step, batches_ in enumerate(ours, start=1):
            for part, items in enumerate(batches_):
                states, lengths = next(fed)
                targets = [train.targets[i] for i in items]
                names = ("dropout", step, *([part] if part else []))
                chance = derive_seed(seed, *names) if drops else None
                for stack in stacks:
                    with seeded(chance, device):
                        logits = stack.logits(states, lengths, train=True)
                    losses = torch.stack([task.loss(row, lengths, targets) for row in logits])
                    stack.add_gradients(losses / len(batches_))
            for stack in stacks:
                stack.step(plan.factor(step))
            if step in checks:
                best = _check(task, stacks, dev, plan, step, grid, best, score)
            if on_step is not None:
                on_step()
    if best is None:
        raise SettingsError("a probe needs at least one update", found=f"{plan.steps} steps")
    best.grid = grid
    best.skipped = {
        r: n for stack in stacks for r, n in zip(stack.rates, stack.skipped, strict=True)
    }
    return best


def predict(
    task: ProbeTask,
    build_head: Callable[[], nn.Module],
    weights: Parameters,
    states: States,
    plan: ProbePlan,
    *,
    device: torch.device | str = "cpu",
) -> list[Any]:
    """Give a trained probe's prediction for every utterance of a split."""
    module = Probe(states.num_states, build_head()).to(device)
    module.load_state_dict(weights)
    stack = ProbeStack(module, [0.0])
    with quick_recurrence(states, device):
        return _predictions(task, [stack], states, plan)[0][0]


def _updates(train: Split, plan: ProbePlan, seed: int) -> Iterator[list[list[int]]]:
    """Give the batches of every update of the plan."""
    trained = Trained(train.states.lengths, train.samples, train.targets)
    endless = updates(plan.scheme, plan.batch_size, plan.accumulate, seed, trained)
    return islice(endless, plan.steps)


def _start(
    build_head: Callable[[], nn.Module],
    states: States,
    plan: ProbePlan,
    seed: int,
    device: torch.device,
) -> list[ProbeStack]:
    with torch.random.fork_rng(devices=[]):
        # Not where fine-tuning begins: its head is thrown away, and no probe shall know it again.
        torch.manual_seed(derive_seed(seed, "probe", "head"))
        augment = SpecAugment() if plan.spec_augment else None
        module = Probe(states.num_states, build_head(), augment).to(device)
    if not plan.rates:
        raise SettingsError("a probe needs at least one learning rate", found="none")
    groups = [plan.rates] if can_stack(module) else [(rate,) for rate in plan.rates]
    return [ProbeStack(module, rates, plan.clip, plan.weight_decay) for rates in groups]


def _check(
    task: ProbeTask,
    stacks: list[ProbeStack],
    dev: Split,
    plan: ProbePlan,
    step: int,
    grid: list[dict[str, Any]],
    best: ProbeResult | None,
    score: Callable[[Sequence[Any], Sequence[Any]], dict[str, float]],
) -> ProbeResult | None:
    draws = dev.draws if dev.draws is not None else range(len(dev.references))
    references = [dev.references[i] for i in draws]
    found = _predictions(task, stacks, dev.states, plan)
    for stack, copies in zip(stacks, found, strict=True):
        for copy, predictions in enumerate(copies):
            scores = score([predictions[i] for i in draws], references)
            metric, rate = next(iter(scores)), stack.rates[copy]
            grid.append({"learning_rate": rate, "step": step, **scores})
            if best is None or better(metric, scores[metric], best.dev[metric]):
                best = ProbeResult(rate, step, scores, stack.weights(copy))
    return best


@torch.no_grad()
def _predictions(
    task: ProbeTask, stacks: Sequence[ProbeStack], states: States, plan: ProbePlan
) -> list[list[list[Any]]]:
    """Give the predictions of every copy of every stack; each batch is read once for all."""
    order = list(range(len(states.lengths)))
    if plan.eval_sorted:
        order.sort(key=lambda i: states.lengths[i])
    result: list[list[list[Any]]] = [[[None] * len(order) for _ in s.rates] for s in stacks]
    device = next(iter(stacks[0].parameters.values())).device
    ours, coming = tee(eval_batches(order, states.lengths, plan.eval_batch_size))
    for items, (batch, lengths) in zip(ours, feed(states, coming, device), strict=True):
        for stack, found in zip(stacks, result, strict=True):
            for copy, logits in enumerate(stack.logits(batch, lengths)):
                for item, prediction in zip(items, task.decode(logits, lengths), strict=True):
                    found[copy][item] = prediction
    return result
