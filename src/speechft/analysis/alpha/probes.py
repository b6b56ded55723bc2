"""Dev scores of small probes along the way from θ0 to θ', on real or on predicted states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from lhotse.cut import Cut
from torch import Tensor, nn

from speechft.analysis.alpha.by_scores import Scored
from speechft.analysis.alpha.by_similarity import predicted, relative_error
from speechft.core.seeding import derive_seed
from speechft.hidden.states import PooledStates, SplitStates, States
from speechft.metrics.per_item import item_parts
from speechft.probing.batches import Split
from speechft.probing.cells import split_of
from speechft.probing.probe import ProbeResult, predict, probe
from speechft.probing.protocol import ProbePlan
from speechft.tasks import Size, Task

Parts = Mapping[str, SplitStates]
"""The states of one encoder: "train" and "dev"."""


@dataclass(frozen=True)
class Bench:
    """A task with its data and how its probe is trained.

    Attributes:
        task: fixed from the training split.
        cuts: of "train" and "dev".
        plan: of the probe.
        size: of its head.
        seed: of head and batches.
        device: where heads are trained.
    """

    task: Task
    cuts: Mapping[str, Sequence[Cut]]
    plan: ProbePlan
    size: Size
    seed: int
    device: str

    def split(self, part: str, states: SplitStates) -> Split:
        """Give a split as the probe reads it."""
        return split_of(self.task, self.cuts[part], states, self.plan, part)

    def head(self, width: int) -> nn.Module:
        """Build a fresh head."""
        return self.task.build_head(width, purpose="probe", size=self.size)

    def train(self, train: Split, dev: Split) -> ProbeResult:
        """Train a probe and choose its rate and update on dev."""
        seed = derive_seed(self.seed, "probe", self.task.id)
        width, task = train.states.width, self.task
        return probe(
            task, lambda: self.head(width), train, dev, self.plan,
            seed=seed, device=self.device,
        )  # fmt: skip

    def score(self, found: ProbeResult, states: States) -> Scored:
        """Score a trained probe on the dev split's states, with each item's share."""
        cuts, task = self.cuts["dev"], self.task
        width, weights = states.width, found.weights
        guesses = predict(
            task, lambda: self.head(width), weights, states, self.plan, device=self.device
        )
        references = [task.reference(cut) for cut in cuts]
        metric, value = next(iter(task.choose(guesses, references).items()))
        rows, as_s3prl = task.rows(cuts, references, guesses), task.protocol == "s3prl"
        parts = item_parts(metric, rows, as_s3prl=as_s3prl)
        return Scored(metric, value, parts, task.answered(guesses, references))


def probed(bench: Bench, states: Parts) -> Scored:
    """Give the dev score of a probe on one encoder's states."""
    train, dev = (bench.split(part, states[part]) for part in ("train", "dev"))
    return bench.score(bench.train(train, dev), dev.states)


class Interpolated:
    """Dev scores at any alpha of a probe that was trained once, on the states of both ends.

    The probe sees every training utterance as θ0 and as θ' say it, so it reads both; dev chooses
    its learning rate on both ends, too. At alpha it is given (1 − alpha) · start + alpha · end.

    Args:
        bench: the task.
        start: θ0's states of "train" and "dev".
        end: θ''s.
    """

    def __init__(self, bench: Bench, start: Parts, end: Parts) -> None:
        self.bench = bench
        self.start, self.end = (bench.split("dev", one["dev"]).states for one in (start, end))
        train, dev = (
            _joined(*(bench.split(part, states[part]) for states in (start, end)))
            for part in ("train", "dev")
        )
        self.found = bench.train(train, dev)

    def at(self, alpha: float) -> Scored:
        """Give the score that is expected at alpha."""
        return self.bench.score(self.found, Mixed(self.start, self.end, alpha))

    def real(self, states: SplitStates) -> Scored:
        """Give the same probe's score on the dev states of the encoder itself."""
        return self.bench.score(self.found, self.bench.split("dev", states).states)

    def error(self, states: SplitStates, alpha: float) -> Tensor:
        """Give how far the predicted dev states are from real ones, by layer, in their sd: (K,)."""
        real = self.bench.split("dev", states).states
        mixed = Mixed(self.start, self.end, alpha)
        parts = ((_frames(mixed, i), _frames(real, i)) for i in range(len(real.lengths)))
        return relative_error((guess, own, own) for guess, own in parts)


class Mixed(States):
    """Predicted states: the mixture of two encoders' states of the same utterances.

    Args:
        start, end: θ0's and θ''s.
        alpha: 0 gives the first, 1 the second.
    """

    def __init__(self, start: States, end: States, alpha: float) -> None:
        self.start, self.end, self.alpha = start, end, alpha
        self.num_states, self.width, self.lengths = start.num_states, start.width, start.lengths
        self.on_cpu = start.on_cpu and end.on_cpu

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give the mixture, as of `States`."""
        first, lengths = self.start.batch(items)
        return predicted(first, self.end.batch(items)[0], self.alpha), lengths


class Joined(States):
    """The states of some utterances, and behind them those of others.

    Args:
        first, second: of one width, both time means or both frames.
    """

    def __init__(self, first: States, second: States) -> None:
        self.first, self.second = first, second
        self.num_states, self.width = first.num_states, first.width
        self.lengths = [*first.lengths, *second.lengths]
        self.on_cpu = first.on_cpu and second.on_cpu

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give the states in the order of the items, as of `States`."""
        border = len(self.first.lengths)
        rows: dict[int, Tensor] = {}
        for states, shift in ((self.first, 0), (self.second, border)):
            own = [i for i in items if (i < border) is (shift == 0)]
            if own:
                found, _ = states.batch([i - shift for i in own])
                rows |= dict(zip(own, found.unbind(1), strict=True))
        chosen = [rows[i] for i in items]
        if chosen[0].dim() == 2:
            return torch.stack(chosen, dim=1), None
        longest = max(self.lengths[i] for i in items)
        padded = [_padded(own, longest) for own in chosen]
        lengths = torch.tensor([self.lengths[i] for i in items], device=padded[0].device)
        return torch.stack(padded, dim=1), lengths


def _joined(first: Split, second: Split) -> Split:
    states: States = Joined(first.states, second.states)
    if isinstance(first.states, PooledStates) and isinstance(second.states, PooledStates):
        means = torch.cat([first.states.means, second.states.means], dim=1)
        states = PooledStates(means, states.lengths)
    targets, references = first.targets * 2, first.references * 2
    return Split(states, targets, references, first.samples * 2)


def _padded(frames: Tensor, longest: int) -> Tensor:
    """Cut (K, T, D), or fill it with zeros, to so many frames."""
    return nn.functional.pad(frames[:, :longest], (0, 0, 0, max(0, longest - frames.shape[1])))


def _frames(states: States, item: int) -> Tensor:
    """Give an utterance's vectors (K, N, D)."""
    return states.batch([item])[0].flatten(1, -2)


def parts_of(states: Mapping[str, SplitStates], names: Sequence[str]) -> dict[str, SplitStates]:
    """Give the states of a task's train and dev splits by their parts."""
    return {part: states[name] for part, name in zip(("train", "dev"), names, strict=False)}
