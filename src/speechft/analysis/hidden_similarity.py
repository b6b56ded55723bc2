"""How alike the hidden states of encoders are, layer by layer.

Points between two encoders that are in memory already.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.errors import IncompatibleModelsError
from speechft.core.lengths import padding_mask
from speechft.data.audio import load_waveform
from speechft.data.batching import DurationBatches
from speechft.data.cuts import heard_seconds
from speechft.encoders import SpeechEncoder
from speechft.encoders.base import refuse_not_finite
from speechft.metrics.similarity import FeatureSimilarity, MeanCosine, Side


@torch.no_grad()
def fill(point: SpeechEncoder, base: SpeechEncoder, other: SpeechEncoder, alpha: float) -> None:
    """Put θ0 + alpha · (θ − θ0), in float32, into an encoder with the base's tensors."""
    start, end = base.model.state_dict(), other.model.state_dict()
    for name, tensor in point.model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_((end[name] - start[name]).mul_(alpha).add_(start[name]))


def check_same_tensors(
    base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], label: str
) -> None:
    """Refuse two encoders of which one has tensors that the other lacks.

    Raises:
        IncompatibleModelsError: the names or shapes differ.
    """
    if {n: t.shape for n, t in base.items()} != {n: t.shape for n, t in tuned.items()}:
        differing = sorted(set(base) ^ set(tuned)) or sorted(
            n for n in base if base[n].shape != tuned[n].shape
        )
        raise IncompatibleModelsError(
            "the two encoders have different tensors",
            where=label,
            found=f"{len(differing)} that differ, first {differing[0]}",
            expected="the tensors of the first encoder, θ0, in all others",
            hint="give encoders that were made from that one; `speechft evaluate` compares any",
        )


Layers = list[FeatureSimilarity]
Cosines = list[MeanCosine]


@dataclass(frozen=True)
class Likeness:
    """What one pass over the utterances has found of an encoder.

    Attributes:
        to_base: hidden states against those of θ0, from the transformer's input (0) on.
        connected: alpha → hidden states of θ0 + alpha · (θ − θ0) against the same mixture of the
            two encoders' hidden states (layerwise linear feature connectivity).
    """

    to_base: Layers
    connected: dict[float, Cosines]


@torch.no_grad()
def compare_states(
    base: SpeechEncoder,
    others: Sequence[SpeechEncoder],
    alphas: Sequence[float],
    cuts: Sequence[Cut],
    seconds: float,
    note: Callable[[int], None],
) -> list[Likeness]:
    """Read utterances once with θ0, other encoders, and the points between θ0 and each.

    Memory does not grow with the utterances: it holds the encoders, one more for the points, and
    sums.

    Args:
        base: θ0.
        others: each θ with θ0's tensors.
        alphas: the points.
        cuts: utterances.
        seconds: of audio in one batch.
        note: told how many utterances each batch held.

    Returns:
        What was found of each of the others.

    Raises:
        DataError: hidden states are not finite.

    Source of the connectivity: Zhou et al. 2023, "Going Beyond Linear Mode Connectivity: The
    Layerwise Linear Feature Connectivity", definition 1, measured by the cosine.
    """
    layers = range(base.num_layers + 1)
    sides = [Side() for _ in layers]
    found = [
        Likeness(
            [FeatureSimilarity(side) for side in sides],
            {alpha: [MeanCosine() for _ in layers] for alpha in alphas},
        )
        for _ in others
    ]
    point = copy.deepcopy(base) if alphas else base
    durations = base.costs(heard_seconds(cut) for cut in cuts)
    for batch in DurationBatches(durations, seconds, seed=0, shuffle=False).epoch(0):
        heard = [cuts[i] for i in batch]
        waveforms = [load_waveform(cut).to(base.device) for cut in heard]
        start = _states(base, waveforms, heard)
        seen = [side.see(states) for side, states in zip(sides, start, strict=True)]
        for other, likeness in zip(others, found, strict=True):
            end = _states(other, waveforms, heard)
            for one, a, b in zip(likeness.to_base, seen, end, strict=True):
                one.add(a, b)
            for alpha, own in likeness.connected.items():
                fill(point, base, other, alpha)
                for layer, states in enumerate(_states(point, waveforms, heard)):
                    own[layer].add(torch.lerp(start[layer], end[layer], alpha), states)
        note(len(batch))
    return found


def _states(
    encoder: SpeechEncoder, waveforms: Sequence[Tensor], heard: Sequence[Cut]
) -> list[Tensor]:
    """Give the valid frames (N, D) of every hidden state."""
    output = encoder(list(waveforms))
    for row, (cut, length) in enumerate(zip(heard, output.lengths.tolist(), strict=True)):
        refuse_not_finite((one[row, :length] for one in output.hidden_states), cut.id)
    keep = ~padding_mask(output.lengths, output.hidden_states[0].shape[1])
    return [states[keep].float() for states in output.hidden_states]
