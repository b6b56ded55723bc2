"""How large hidden states are, which is told without any encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from speechft.encoders import SpeechEncoder

DTYPE_BYTES: Final = {"float16": 2, "float32": 4}


class Shape(NamedTuple):
    """What of an encoder decides how large its hidden states are; an encoder has the same names."""

    num_layers: int
    hidden_size: int
    sample_rate: int
    hop: int


def frame_bytes(encoder: SpeechEncoder | Shape, seconds: float, dtype: str) -> float:
    """Give the size of all frames of all hidden states of some audio, in bytes."""
    frames = seconds * encoder.sample_rate / encoder.hop
    return frames * (encoder.num_layers + 1) * encoder.hidden_size * DTYPE_BYTES[dtype]


def mean_bytes(encoder: SpeechEncoder | Shape, utterances: int) -> int:
    """Give the size of the time means of so many utterances, in bytes."""
    return utterances * (encoder.num_layers + 1) * encoder.hidden_size * 4
