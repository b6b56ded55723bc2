"""The utterances whose hidden states are wanted, and the batches in which they are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from speechft.core.errors import DataError
from speechft.core.lengths import masked_mean
from speechft.encoders import SpeechEncoder
from speechft.hidden.inputs import front_end_output

DTYPES: Final = {"float16": torch.float16, "float32": torch.float32}


class FrontEndSource(Protocol):
    """Gives the CNN front end's output by index."""

    durations: list[float]

    def expect(self, indices: Sequence[int]) -> None:
        """Be told what will be asked for, in its order."""

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C) of each utterance."""


@dataclass(frozen=True)
class Library:
    """All utterances of an evaluation on one data set, each audio once.

    Attributes:
        source: front-end features by index.
        keys: one per utterance, equal exactly where the audio is the same.
        groups: indices in groups that never meet in one batch, such as splits.
    """

    source: FrontEndSource
    keys: list[str]
    groups: list[list[int]]

    def batches(self, max_seconds: float) -> list[list[int]]:
        """Give all batches: a pure function of durations and groups.

        A state's last bit therefore does not depend on what else is computed in a run.
        """
        result = []
        for group in self.groups:
            durations = [self.source.durations[i] for i in group]
            result += [[group[j] for j in b] for b in length_batches(durations, max_seconds)]
        return result


@dataclass(frozen=True)
class Request:
    """The states that one split needs.

    Attributes:
        items: its utterances in their order, as indices into the library.
        frames: whether frames are needed besides time means.
    """

    items: list[int]
    frames: bool


@dataclass
class Passes:
    """How much an encoder has read.

    Attributes:
        utterances: encoder passes.
        audio_seconds: length of their audio.
    """

    utterances: int = 0
    audio_seconds: float = 0.0
    on_batch: Callable[[], None] | None = field(default=None, repr=False)

    def add(self, durations: Sequence[float]) -> None:
        """Count a batch."""
        self.utterances += len(durations)
        self.audio_seconds += sum(durations)
        if self.on_batch is not None:
            self.on_batch()


@dataclass(frozen=True)
class Encoded:
    """The states of one batch, on the CPU.

    Attributes:
        items: indices into the library.
        lengths: valid frames of each.
        means: time means (K, B, D), float32.
        frames: (K, B, T, D), or None where not wanted.
    """

    items: list[int]
    lengths: list[int]
    means: Tensor
    frames: Tensor | None

    def frames_of(self, row: int) -> Tensor:
        """Give the frames (K, T, D) of one utterance of the batch."""
        if self.frames is None:
            raise ValueError("the batch was encoded without frames")
        return self.frames[:, row, : self.lengths[row]]


@torch.no_grad()
def encode(
    encoder: SpeechEncoder,
    source: FrontEndSource,
    items: Sequence[int],
    dtype: torch.dtype | None,
    passes: Passes,
) -> Encoded:
    """Compute the hidden states of one batch.

    On a CPU every utterance is encoded alone, so that not even the last bit of its states depends
    on what is beside it; that is faster, too, from encoders of Base size on. A GPU computes the
    batch at once.

    Args:
        encoder: frozen, in evaluation mode.
        source: front-end features by index.
        items: the batch.
        dtype: of frames; None gives time means alone.
        passes: counts.

    Raises:
        DataError: an utterance is longer than its cut says.
    """
    inputs = source.load(items)
    alone = encoder.device.type == "cpu"
    groups = [[row] for row in range(len(items))] if alone else [list(range(len(items)))]
    lengths, means, parts = [0] * len(items), [], []
    for rows in groups:
        features, sizes = front_end_output(encoder, [inputs[row] for row in rows])
        states, valid = encoder.from_front_end(features, sizes)
        for row, length in zip(rows, valid.tolist(), strict=True):
            _check_room(length, encoder, source.durations[items[row]])
            lengths[row] = length
        means.append(torch.stack([masked_mean(state.float(), valid) for state in states]).cpu())
        if dtype is not None:
            parts.append(torch.stack([state.to(dtype) for state in states]).cpu())
    frames = None if dtype is None else _side_by_side(parts)
    passes.add([source.durations[i] for i in items])
    return Encoded(list(items), lengths, torch.cat(means, dim=1), frames)


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Put (K, B, T, D) of several groups into one zero-padded tensor."""
    if len(parts) == 1:
        return parts[0]
    longest = max(part.shape[2] for part in parts)
    padded = [functional.pad(part, (0, 0, 0, longest - part.shape[2])) for part in parts]
    return torch.cat(padded, dim=1)


def room(encoder: SpeechEncoder, duration: float) -> int:
    """Give how many frames an utterance of so many seconds has at most."""
    return int(duration * encoder.sample_rate / encoder.hop) + 2


def frame_bytes(encoder: SpeechEncoder, seconds: float, dtype: str) -> float:
    """Give the size of all frames of all hidden states of some audio, in bytes."""
    frames = seconds * encoder.sample_rate / encoder.hop
    return frames * (encoder.num_layers + 1) * encoder.hidden_size * DTYPES[dtype].itemsize


def mean_bytes(encoder: SpeechEncoder, utterances: int) -> int:
    """Give the size of the time means of so many utterances, in bytes."""
    return utterances * (encoder.num_layers + 1) * encoder.hidden_size * 4


def length_batches(durations: Sequence[float], max_seconds: float) -> list[list[int]]:
    """Cut utterances, longest first, into batches of at most so many seconds with padding."""
    order = sorted(range(len(durations)), key=lambda i: (-durations[i], i))
    result: list[list[int]] = []
    for i in order:
        if result and durations[result[-1][0]] * (len(result[-1]) + 1) <= max_seconds:
            result[-1].append(i)
        else:
            result.append([i])
    return result


def _check_room(length: int, encoder: SpeechEncoder, duration: float) -> None:
    if length > room(encoder, duration):
        raise DataError(
            "an utterance has more audio than its cut says",
            expected=f"at most {room(encoder, duration)} frames in {duration:.2f} s",
            found=f"{length} frames",
            hint="make the cuts anew",
        )
