"""How alike the hidden states of encoders are, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from lhotse.cut import Cut
from torch import Tensor

from speechft.core.lengths import padding_mask
from speechft.data.audio import heard_seconds, load_waveform
from speechft.data.batching import DurationBatches
from speechft.encoders import SpeechEncoder
from speechft.metrics.similarity import FeatureSimilarity

Layers = list[FeatureSimilarity]


@dataclass(frozen=True)
class Likeness:
    """What one pass over the utterances has found of an encoder.

    Attributes:
        to_base: hidden states against those of θ0, from the transformer's input (0) on.
        connected: alpha → hidden states of θ0 + alpha · (θ − θ0) against the same mixture of the
            two encoders' hidden states (layerwise linear feature connectivity).
    """

    to_base: Layers
    connected: dict[float, Layers]


@torch.no_grad()
def compare_states(
    base: SpeechEncoder,
    other: SpeechEncoder,
    between: dict[float, SpeechEncoder],
    cuts: Sequence[Cut],
    seconds: float,
    note: Callable[[int], None],
) -> Likeness:
    """Read utterances with θ0, another encoder, and encoders between the two.

    Args:
        base: θ0.
        other: θ, with as many hidden states of the same width.
        between: alpha → the encoder at that point.
        cuts: utterances.
        seconds: of audio in one batch.
        note: told how many utterances each batch held.

    Source of the connectivity: Zhou et al. 2023, "Going Beyond Linear Mode Connectivity: The
    Layerwise Linear Feature Connectivity", definition 1, measured by the cosine.
    """
    count = base.num_layers + 1
    found = Likeness(_fresh(count), {alpha: _fresh(count) for alpha in between})
    durations = base.costs(heard_seconds(cut) for cut in cuts)
    for batch in DurationBatches(durations, seconds, seed=0, shuffle=False).epoch(0):
        waveforms = [load_waveform(cuts[i]).to(base.device) for i in batch]
        start, end = _states(base, waveforms), _states(other, waveforms)
        for layer, (a, b) in enumerate(zip(start, end, strict=True)):
            found.to_base[layer].add(a, b)
        for alpha, encoder in between.items():
            for layer, states in enumerate(_states(encoder, waveforms)):
                found.connected[alpha][layer].add(
                    torch.lerp(start[layer], end[layer], alpha), states
                )
        note(len(batch))
    return found


def _fresh(count: int) -> Layers:
    return [FeatureSimilarity() for _ in range(count)]


def _states(encoder: SpeechEncoder, waveforms: Sequence[Tensor]) -> list[Tensor]:
    """Give the valid frames (N, D) of every hidden state."""
    output = encoder(list(waveforms))
    keep = ~padding_mask(output.lengths, output.hidden_states[0].shape[1])
    return [states[keep].float() for states in output.hidden_states]
