"""Barriers on the way from θ0 to another encoder: whether a head's loss rises in between.

Source:
    Entezari et al. 2022, "The Role of Permutation Invariance in Linear Mode Connectivity of Neural
    Networks", definition 2.1, at the points that are asked for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.analysis.hidden_similarity import fill
from speechft.data.audio import load_waveform
from speechft.data.batching import DurationBatches
from speechft.data.cuts import heard_seconds
from speechft.encoders import EncoderOutput, SpeechEncoder
from speechft.metrics.measures import direction
from speechft.tasks.kept_head import KeptHead

Record = dict[str, Any]


@dataclass(frozen=True)
class Point:
    """What a head says at one alpha.

    Attributes:
        loss: mean loss of its task.
        error: its task's first metric as an error in percent: 100 − the value where more is better.
    """

    loss: float
    error: float


def barrier(values: Mapping[float, float]) -> tuple[float, float]:
    """Give how far a quantity lies above the line between both ends at most, and at which alpha.

    Args:
        values: alpha → value; with 0 and 1, where the barrier is 0.
    """
    start, end = values[0.0], values[1.0]
    above = {alpha: v - ((1 - alpha) * start + alpha * end) for alpha, v in values.items()}
    above |= {0.0: 0.0, 1.0: 0.0}  # also where rounding says otherwise
    alpha = max(sorted(above), key=lambda one: above[one])
    return above[alpha], alpha


@torch.no_grad()
def along_the_way(
    base: SpeechEncoder,
    other: SpeechEncoder,
    head: KeptHead,
    cuts: Sequence[Cut],
    alphas: Sequence[float],
    seconds: float,
    note: Callable[[int], None],
) -> dict[float, Point]:
    """Score a head on θ0, on another encoder, and on points between, in one reading of the audio.

    Every point is one encoder pass; memory holds one encoder more than both, and the predictions.

    Args:
        base: θ0.
        other: θ with θ0's tensors.
        head: in evaluation mode.
        cuts: utterances with the labels of the head's task.
        alphas: the points between.
        seconds: of audio in one batch.
        note: told how many utterances each batch held.

    Returns:
        alpha → what was found, from 0 to 1.
    """
    task, point = head.task, copy.deepcopy(base)
    task.hop = base.hop
    head.module.to(base.device)
    ways = (0.0, *sorted(alphas), 1.0)
    losses: dict[float, list[float]] = {alpha: [] for alpha in ways}
    guesses: dict[float, list[Any]] = {alpha: [] for alpha in ways}
    weights: list[float] = []
    references: list[Any] = []
    durations = base.costs(heard_seconds(cut) for cut in cuts)
    for batch in DurationBatches(durations, seconds, seed=0, shuffle=False).epoch(0):
        heard = [cuts[i] for i in batch]
        waveforms = [load_waveform(cut).to(base.device) for cut in heard]
        targets = [task.target(cut) for cut in heard]
        references += [task.reference(cut) for cut in heard]
        frames: Tensor | None = None
        for alpha in ways:
            output = _states(base, other, point, alpha, waveforms)
            logits = head(output).float()
            losses[alpha].append(float(task.loss(logits, output.lengths, targets)))
            guesses[alpha] += task.decode(logits, output.lengths)
            frames = output.lengths
        weights.append(task.weight([] if frames is None else frames.tolist(), targets))
        note(len(batch))
    return {
        alpha: Point(
            fsum(w * v for w, v in zip(weights, losses[alpha], strict=True)) / fsum(weights),
            _error(task.score(guesses[alpha], references), task.metrics[0]),
        )
        for alpha in ways
    }


def records_of(label: str, head: KeptHead, found: Mapping[float, Point]) -> list[Record]:
    """Give an encoder's records: loss and error at every point, and the barrier of each."""
    records: list[Record] = []
    for measure in ("loss", "error"):
        values = {alpha: float(getattr(point, measure)) for alpha, point in found.items()}
        about = {"encoder": label, "measure": measure, "task": head.task.id}
        records += [{**about, "alpha": alpha, "value": value} for alpha, value in values.items()]
        height, alpha = barrier(values)
        records.append({**about, "measure": f"{measure} barrier", "at": alpha, "value": height})
    return records


def _states(
    base: SpeechEncoder,
    other: SpeechEncoder,
    point: SpeechEncoder,
    alpha: float,
    waveforms: Sequence[Tensor],
) -> EncoderOutput:
    encoder = {0.0: base, 1.0: other}.get(alpha, point)
    if encoder is point:
        fill(point, base, other, alpha)
    output: EncoderOutput = encoder(list(waveforms))
    return output


def _error(scores: Mapping[str, float], metric: str) -> float:
    value = scores[metric]
    return value if direction(metric) == "lower" else 100 - value
