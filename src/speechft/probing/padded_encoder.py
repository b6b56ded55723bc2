"""Hidden states for the protocol "s3prl": besides the exact ones, those of one padding frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from speechft.encoders import SpeechEncoder
from speechft.encoders.base import EncoderOutput
from speechft.hidden.encoding import Passes, Utterances
from speechft.hidden.states import SplitStates
from speechft.hidden.store import HiddenStore, Request

Kind = Literal["means", "frames"]


class PaddedEncoder:
    """An encoder whose output shows the first padding frame of every utterance too.

    What a padding frame becomes does not depend on how much padding follows: frames attend to
    valid ones only.

    Args:
        encoder: the encoder.
        kind: "frames": every utterance is one frame longer; "means": every frame has the padding
            frame's state behind its own, so that time means (K, N, 2 D) hold both.
    """

    def __init__(self, encoder: SpeechEncoder, kind: Kind) -> None:
        self.encoder = encoder
        self.kind = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    @property
    def hidden_size(self) -> int:
        """Width of what `from_front_end` gives."""
        return self.encoder.hidden_size * (2 if self.kind == "means" else 1)

    def from_front_end(self, features: Tensor, frame_lengths: Tensor) -> EncoderOutput:
        """Apply everything behind the front end to (B, T, C) with one padding frame more."""
        longer = functional.pad(features, (0, 0, 0, 1))
        states, lengths = self.encoder.from_front_end(longer, frame_lengths)
        if self.kind == "frames":
            return EncoderOutput(states, lengths + 1)
        rows = torch.arange(len(lengths), device=lengths.device)
        both = [torch.cat([s, s[rows, lengths][:, None].expand_as(s)], dim=-1) for s in states]
        return EncoderOutput(tuple(both), lengths)


def open_padded(
    store: HiddenStore,
    encoder: SpeechEncoder,
    utterances: Utterances,
    requests: Mapping[str, Request],
    pooled: Collection[str],
    encoder_id: str,
    passes: Passes,
) -> dict[str, SplitStates]:
    """Give hidden states as `HiddenStore.open`, with a padding frame.

    Args:
        store: where they are kept; those of the two kinds lie beside each other.
        encoder: frozen, in evaluation mode.
        utterances: that may be asked for.
        requests: split → what it needs.
        pooled: the splits whose time means are needed.
        encoder_id: identity of the encoder.
        passes: counts what the encoder reads.
    """

    def open_(kind: Kind, wanted: dict[str, Request]) -> dict[str, SplitStates]:
        shown = cast(SpeechEncoder, PaddedEncoder(encoder, kind))
        return store.open(shown, utterances, wanted, f"{encoder_id}+{kind}", passes)

    framed = {name: r for name, r in requests.items() if r.frames}
    means = {name: Request(requests[name].items, False) for name in pooled}
    frames = open_("frames", framed) if framed else {}
    exact = open_("means", means) if means else {}
    return {
        name: SplitStates(
            (exact.get(name) or frames[name]).pooled,
            frames[name].frames if name in frames else None,
        )
        for name in requests
    }
