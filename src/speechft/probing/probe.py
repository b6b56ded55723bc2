"""Probing: train a head on kept hidden states, for many learning rates side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, tee
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from speechft.core.errors import SettingsError
from speechft.core.seeding import derive_seed, seeded
from speechft.heads.linear import Probe
from speechft.heads.spec_augment import SpecAugment
from speechft.hidden.states import States
from speechft.metrics.measures import better
from speechft.probing.batches import Split, eval_batches, feed, quick_recurrence, updates
from speechft.probing.protocol import ProbePlan
from speechft.tasks import Task

Parameters = dict[str, Tensor]


def can_stack(module: nn.Module) -> bool:
    """Tell whether R copies of a module can run as one batched computation.

    Recurrent layers have no batched form over their weights, dropout would draw one mask for all
    copies or another one for each, depending on the grid, and convolutions over time are as quick
    one by one.
    """
    alone = nn.RNNBase | nn.Dropout | nn.Conv1d
    return not any(isinstance(part, alone) for part in module.modules())


class ProbeStack:
    """R copies of a probe, each with its own learning rate, that see the same batches.

    All start from the same weights. Each copy is trained with Adam (betas 0.9, 0.999, eps 1e-8) and
    has its own gradient norm clipped; the copies do not influence each other. An update with a
    gradient that is not finite is skipped for that copy and counted in `skipped`.

    Args:
        probe: the weights to start from.
        rates: the learning rates; several only if `can_stack(probe)`.
        clip: largest gradient norm.
        weight_decay: share of the rate by which weights shrink at each update, as in AdamW.
    """

    def __init__(
        self, probe: Probe, rates: Sequence[float], clip: float = 1.0, weight_decay: float = 0.0
    ) -> None:
        self.module, self.rates = probe, list(rates)
        self.clip, self.weight_decay = clip, weight_decay
        self._gradients: list[Tensor] | None = None
        self.parameters: Parameters = {
            name: p.detach().expand(len(self.rates), *p.shape).clone().requires_grad_()
            for name, p in probe.named_parameters()
        }
        self.skipped = [0] * len(self.rates)
        device = next(iter(self.parameters.values())).device
        self._rates = torch.tensor(self.rates, device=device)
        self._updates = torch.zeros(len(self.rates), device=device)
        self._first = [torch.zeros_like(p) for p in self.parameters.values()]
        self._second = [torch.zeros_like(p) for p in self.parameters.values()]

    def logits(self, states: Tensor, lengths: Tensor | None, *, train: bool = False) -> Tensor:
        """Give the logits of every copy: (R, B, ...)."""
        self.module.train(train)
        if len(self.rates) == 1:
            alone = {name: p.squeeze(0) for name, p in self.parameters.items()}
            return self._call(alone, states, lengths)[None]
        stacked: Tensor = torch.vmap(lambda own: self._call(own, states, lengths))(self.parameters)
        return stacked

    def add_gradients(self, losses: Tensor) -> None:
        """Add the gradients of the copies' losses (R,) to those of the coming update."""
        found = list(torch.autograd.grad(losses.sum(), list(self.parameters.values())))
        before = self._gradients
        self._gradients = [a + b for a, b in zip(before, found, strict=True)] if before else found

    def step(self, factor: float = 1.0) -> None:
        """Do one update of every copy with the gradients so far, at `factor` times their rates."""
        gradients, self._gradients = self._gradients or [], None
        with torch.no_grad():
            squares = [g.flatten(1).square().sum(dim=1) for g in gradients]
            norm = torch.stack(squares).sum(dim=0).sqrt()
            good = torch.isfinite(norm)
            scale = (self.clip / (norm + 1e-6)).clamp(max=1.0)
            if bool(good.all()):
                self._adam(gradients, scale, factor)
            else:
                self._adam_where(gradients, scale, factor, good)

    def weights(self, copy: int) -> Parameters:
        """Give a copy's weights under the probe's own names."""
        return {name: p[copy].detach().clone() for name, p in self.parameters.items()}

    def _call(self, parameters: Parameters, states: Tensor, lengths: Tensor | None) -> Tensor:
        result: Tensor = functional_call(self.module, parameters, (states, lengths))
        return result

    def _adam_where(
        self, gradients: list[Tensor], scale: Tensor, factor: float, good: Tensor
    ) -> None:
        """Update the copies whose gradient is finite and leave the others as they are."""
        bad = torch.nonzero(~good).flatten().tolist()
        kept = [self.parameters.values(), self._first, self._second, [self._updates]]
        tensors = [tensor for group in kept for tensor in group]
        before = [tensor.detach()[bad].clone() for tensor in tensors]
        self._adam(gradients, scale, factor)
        for tensor, old in zip(tensors, before, strict=True):
            tensor[bad] = old
        for copy in bad:
            self.skipped[copy] += 1

    def _adam(self, gradients: list[Tensor], scale: Tensor, factor: float) -> None:
        self._updates += 1
        step_size = factor * self._rates / (1 - 0.9**self._updates)
        root = (1 - 0.999**self._updates).sqrt()
        moments = zip(self.parameters.values(), gradients, self._first, self._second, strict=True)
        for parameter, gradient, first, second in moments:
            shape = (-1, *[1] * (parameter.dim() - 1))
            gradient = gradient * scale.view(shape)
            if self.weight_decay:
                parameter.mul_(1 - self.weight_decay * factor * self._rates.view(shape))
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            denominator = second.sqrt().div_(root.view(shape)).add_(1e-8)
            parameter.sub_(denominator.reciprocal_().mul_(first).mul_(step_size.view(shape)))


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
    task: Task,
    build_head: Callable[[], nn.Module],
    train: Split,
    dev: Split,
    plan: ProbePlan,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    on_step: Callable[[], None] | None = None,
) -> ProbeResult:
    """Train one probe per learning rate on the same batches and choose by the dev split.

    All rates start from the same weights. The best value of the first metric that the task's
    `choose` gives, over all rates and checks, wins; on a tie the earlier check, then the rate that
    stands first in the plan.

    Args:
        task: loss, decoding and metrics.
        build_head: gives a fresh head; called under the seed.
        train: the training split.
        dev: the split that chooses.
        plan: rates, steps, batch size.
        seed: of initial weights, batches and dropout.
        device: where heads are trained.
        on_step: called after every update; benchmarks take the time there.

    Raises:
        SettingsError: there is nothing to do (no update, no learning rate).
    """
    stacks = _start(build_head, train.states, plan, seed, torch.device(device))
    checks = set(plan.check_steps())
    random = (nn.Dropout, SpecAugment)
    drops = any(isinstance(part, random) for part in stacks[0].module.modules())
    best: ProbeResult | None = None
    grid: list[dict[str, Any]] = []
    endless = updates(plan.scheme, plan.batch_size, plan.accumulate, seed, train)
    ours, coming = tee(islice(endless, plan.steps))
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
                best = _check(task, stacks, dev, plan, step, grid, best)
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
    task: Task,
    build_head: Callable[[], nn.Module],
    weights: Parameters,
    states: States,
    plan: ProbePlan,
    *,
    device: torch.device | str = "cpu",
) -> list[Any]:
    """Give a trained probe's prediction for every utterance of a split."""
    module = Probe(states.num_states, build_head(), normalize=plan.normalize).to(device)
    module.load_state_dict(weights)
    stack = ProbeStack(module, [0.0])
    with quick_recurrence(states, device):
        return _predictions(task, [stack], states, plan)[0][0]


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
        module = Probe(states.num_states, build_head(), augment, normalize=plan.normalize)
        module = module.to(device)
    if not plan.rates:
        raise SettingsError("a probe needs at least one learning rate", found="none")
    groups = [plan.rates] if can_stack(module) else [(rate,) for rate in plan.rates]
    return [ProbeStack(module, rates, plan.clip, plan.weight_decay) for rates in groups]


def _check(
    task: Task,
    stacks: list[ProbeStack],
    dev: Split,
    plan: ProbePlan,
    step: int,
    grid: list[dict[str, Any]],
    best: ProbeResult | None,
) -> ProbeResult | None:
    draws = dev.draws if dev.draws is not None else range(len(dev.references))
    references = [dev.references[i] for i in draws]
    found = _predictions(task, stacks, dev.states, plan)
    for stack, copies in zip(stacks, found, strict=True):
        for copy, predictions in enumerate(copies):
            scores = task.choose([predictions[i] for i in draws], references)
            metric, rate = next(iter(scores)), stack.rates[copy]
            grid.append({"learning_rate": rate, "step": step, **scores})
            if best is None or better(metric, scores[metric], best.dev[metric]):
                best = ProbeResult(rate, step, scores, stack.weights(copy))
    return best


@torch.no_grad()
def _predictions(
    task: Task, stacks: Sequence[ProbeStack], states: States, plan: ProbePlan
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
