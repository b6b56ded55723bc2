"""What is asked of a store in one look, and what it was told."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechft.encoders import SpeechEncoder
from speechft.hidden.library import DTYPES, Encoded, Library, Passes, Request, encode


@dataclass(frozen=True)
class Rules:
    """What a store was told.

    Attributes:
        dtype: of frames.
        limit_bytes: what the folder may hold.
        batch_seconds: seconds of audio per batch, padding included.
        folder: the store's; None keeps all in memory.
        rank: this process' number among those that share the work.
        processes: their count.
        used: shards in use, which stay whatever the limit says.
    """

    dtype: str
    limit_bytes: float
    batch_seconds: float
    folder: Path | None
    rank: int
    processes: int
    used: set[Path]


@dataclass(frozen=True)
class Work:
    """One look for the states of some splits.

    Attributes:
        rules: of the store.
        encoder: frozen, in evaluation mode.
        library: the utterances.
        requests: split → what it needs.
        passes: counts what the encoder reads.
        further: what other processes need of the same utterances, now or later; where an utterance
            is read, that is written too.
    """

    rules: Rules
    encoder: SpeechEncoder
    library: Library
    requests: dict[str, Request]
    passes: Passes
    further: tuple[Request, ...] = ()

    def items(self, *, frames: bool | None = None) -> set[int]:
        """Give the utterances of the requests with frames, without, or of all."""
        wanted = [r for r in self.requests.values() if frames is None or r.frames is frames]
        return {i for request in wanted for i in request.items}

    def wanted(self, *, frames: bool) -> set[int]:
        """Give the utterances that anybody needs, with frames or at all."""
        asked = [*self.requests.values(), *self.further]
        return {i for request in asked if request.frames or not frames for i in request.items}

    @property
    def shape(self) -> tuple[int, int]:
        """K and D."""
        return (self.encoder.num_layers + 1, self.encoder.hidden_size)

    def batches(self, needed: Collection[int]) -> list[list[int]]:
        """Give the batches that hold a needed utterance, whole."""
        batches = self.library.batches(self.rules.batch_seconds)
        return [batch for batch in batches if any(i in needed for i in batch)]

    def coming(self, batches: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
        """Tell the source what will be read, and give it back."""
        self.library.source.expect([i for batch in batches for i in batch])
        return batches

    def encode(self, batch: Sequence[int], *, frames: bool) -> Encoded:
        """Encode a batch."""
        dtype = DTYPES[self.rules.dtype] if frames else None
        return encode(self.encoder, self.library.source, batch, dtype, self.passes)
