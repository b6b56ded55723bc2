"""Hidden states of utterances: an encoder's passes over them, and one split as a probe reads it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import torch
from torch import Tensor

from speechft.core.devices import bfloat16_where_wanted
from speechft.core.errors import DataError
from speechft.core.lengths import length_batches, masked_mean
from speechft.encoders import SpeechEncoder
from speechft.encoders.base import refuse_not_finite
from speechft.encoders.identity import EncodingPrecision
from speechft.hidden.front_end_cache import FrontEndCache, front_end_output
from speechft.hidden.sizes import DTYPE_BYTES

DTYPES: Final = {name: getattr(torch, name) for name in DTYPE_BYTES}


@dataclass
class Passes:
    """How much an encoder has read.

    Attributes:
        utterances: encoder passes.
        audio_seconds: length of their audio.
        on_batch: called after each batch, for progress.
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
    """The hidden states of one utterance, on the CPU.

    Attributes:
        mean: time means (K, D), float32.
        length: valid frames T.
        frames: (K, T, D), or None where not wanted.
    """

    mean: Tensor
    length: int
    frames: Tensor | None = None

    def without_frames(self) -> Encoded:
        """Give the time means alone."""
        return replace(self, frames=None)


@dataclass(frozen=True)
class Reader:
    """Encodes utterances.

    On a CPU every utterance is encoded alone, so that not even the last bit of its states depends
    on what is beside it; that is faster, too, from encoders of Base size on. A GPU computes
    utterances of similar length together.

    Attributes:
        encoder: frozen, in evaluation mode.
        source: front-end features by index.
        dtype: "float16" or "float32", of frames.
        passes: counts.
        batch_seconds: seconds of audio per batch, padding included.
        precision: "float32", or "bfloat16" for passes that are faster and less exact.
    """

    encoder: SpeechEncoder
    source: FrontEndCache
    dtype: str
    passes: Passes
    batch_seconds: float = 60.0
    precision: EncodingPrecision = "float32"

    def expect(self, items: Collection[int]) -> None:
        """Say which utterances will be read."""
        with self._computing():
            self.source.expect(sorted(items, key=lambda i: (-self.source.durations[i], i)))

    def read(self, items: Sequence[int], framed: Collection[int]) -> Iterator[tuple[int, Encoded]]:
        """Give index and hidden states of utterances, the longest first.

        Args:
            items: the utterances.
            framed: those whose frames are wanted besides the time means.

        Raises:
            DataError: an utterance has more audio than its cut says, or its states are not finite.
        """
        alone = self.encoder.device.type == "cpu"
        costs = self.encoder.costs(self.source.durations[i] for i in items)
        for batch in length_batches(costs, 0.0 if alone else self.batch_seconds):
            chosen = [items[row] for row in batch]
            yield from zip(chosen, self._encode(chosen, framed), strict=True)

    def _computing(self) -> torch.autocast:
        return bfloat16_where_wanted(self.encoder.device, self.precision == "bfloat16")

    @torch.no_grad()
    def _encode(self, batch: Sequence[int], framed: Collection[int]) -> list[Encoded]:
        with self._computing():
            features, sizes = front_end_output(self.encoder, self.source.load(batch))
            states, valid = self.encoder.from_front_end(features, sizes)
        means = torch.stack([masked_mean(state.float(), valid) for state in states]).cpu()
        frames: Tensor | None = None
        if any(i in framed for i in batch):
            frames = torch.stack([state.to(DTYPES[self.dtype]) for state in states]).cpu()
        found: list[Encoded] = []
        for row, (i, length) in enumerate(zip(batch, valid.tolist(), strict=True)):
            own = None if frames is None or i not in framed else frames[:, row, :length]
            self._check(i, length, means[:, row], own)
            if own is not None and len(batch) > 1:
                own = own.clone()  # a view would hold the padding of the whole batch
            found.append(Encoded(means[:, row], length, own))
        self.passes.add([self.source.durations[i] for i in batch])
        return found

    def _check(self, item: int, length: int, mean: Tensor, frames: Tensor | None) -> None:
        name, duration = self.source.name(item), self.source.durations[item]
        most = int(duration * self.encoder.sample_rate / self.encoder.hop) + 2
        if length > most:
            raise DataError(
                "an utterance has more audio than its cut says",
                where=name,
                expected=f"at most {most} frames in {duration:.2f} s",
                found=f"{length} frames",
                hint="make the cuts anew",
            )
        refuse_not_finite([mean], name)
        if frames is not None and not bool(torch.isfinite(frames).all()):
            raise DataError(
                "the hidden states of an utterance are not finite",
                where=name,
                found="values beyond float16",
                hint="keep them in full precision: frame_dtype: float32",
            )


class States(ABC):
    """Hidden states of utterances 0..N-1 of one split, as a probe reads them.

    Attributes:
        num_states: number of hidden states K.
        width: D.
        lengths: valid frames of each utterance.
        on_cpu: whether a batch is put together in the memory of the CPU from frames that lie ready.
    """

    num_states: int
    width: int
    lengths: list[int]
    on_cpu: bool = False

    @abstractmethod
    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give states of some utterances, of the type that they are kept in.

        Returns:
            One vector per utterance (K, B, D) and None; or frames (K, B, T, D), zero where padded,
            and lengths (B,).
        """

    def views(self) -> list[Tensor] | None:
        """Give (K, T, D) of each utterance where they lie ready, without a copy; else None."""
        return None


class PooledStates(States):
    """One vector per utterance and hidden state: the exact mean over the valid frames.

    Args:
        means: (K, N, D), float32.
        lengths: valid frames of each utterance, for reference.
    """

    def __init__(self, means: Tensor, lengths: list[int]) -> None:
        self.means, self.lengths = means, lengths
        self.num_states, _, self.width = means.shape

    def to(self, device: torch.device | str) -> PooledStates:
        """Give the same on a device."""
        return PooledStates(self.means.to(device), self.lengths)

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give (K, B, D) and None."""
        index = torch.tensor(list(items), device=self.means.device)
        return self.means.index_select(1, index), None


class FrameStates(States):
    """Every frame of every utterance, in memory or mapped from the disk.

    Args:
        frames: (K, T, D) of each utterance, float16 or float32.
    """

    def __init__(self, frames: Sequence[Tensor]) -> None:
        self.frames = list(frames)
        self.lengths = [own.shape[1] for own in self.frames]
        self.num_states, _, self.width = self.frames[0].shape
        self.on_cpu = self.frames[0].device.type == "cpu"

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), in the type they are kept in, and lengths (B,)."""
        return _side_by_side([self.frames[i] for i in items])

    def views(self) -> list[Tensor] | None:
        """Give (K, T, D) of each utterance."""
        return self.frames


class EncodedFrames(States):
    """Frames that nobody keeps: the encoder reads the utterances anew for every batch.

    Args:
        reader: encodes them, in batches of its own size, whatever a probe's batch holds.
        items: the split's utterances, as indices into the reader's source.
        lengths: frames of each utterance.
    """

    def __init__(self, reader: Reader, items: list[int], lengths: list[int]) -> None:
        self.reader, self.items, self.lengths = reader, items, lengths
        self.num_states, self.width = reader.encoder.num_layers + 1, reader.encoder.hidden_size

    def batch(self, items: Sequence[int]) -> tuple[Tensor, Tensor | None]:
        """Give zero-padded (K, B, T, D), as if they had been kept, and lengths (B,)."""
        own = [self.items[i] for i in items]
        found = dict(self.reader.read(list(dict.fromkeys(own)), set(own)))
        return _side_by_side([frames for i in own if (frames := found[i].frames) is not None])


@dataclass(frozen=True)
class SplitStates:
    """The hidden states of one split.

    Attributes:
        pooled: time means, always.
        frames: all frames, or None where nobody asked for them.
    """

    pooled: PooledStates
    frames: States | None


def _side_by_side(frames: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put (K, T, D) of each utterance into zero-padded (K, B, T, D); give that and lengths (B,)."""
    first, lengths = frames[0], [own.shape[1] for own in frames]
    batch = first.new_empty((first.shape[0], len(frames), max(lengths), first.shape[2]))
    for row, (own, length) in enumerate(zip(frames, lengths, strict=True)):
        batch[:, row, :length] = own
        batch[:, row, length:] = 0
    return batch, torch.tensor(lengths, device=first.device)
