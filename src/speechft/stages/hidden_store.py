"""Hidden states computed once per utterance and encoder: time means, and frames where needed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechft.core.errors import DataError, SettingsError
from speechft.core.files import atomic_dir, hash_json, read_json, write_json
from speechft.core.lengths import masked_mean
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.training.probe_states import FrameStates, PooledStates

VERSION: Final = 1  # raise it when the content of stored states changes
_DTYPES: Final = {"float16": torch.float16, "float32": torch.float32}
_logger = get_logger(__name__)


class FrontEndSource(Protocol):
    """Gives the CNN front end's output by index."""

    durations: list[float]

    def load(self, indices: Sequence[int]) -> list[Tensor]:
        """Give features (T, C) of each utterance."""


@dataclass(frozen=True)
class SplitStates:
    """The hidden states of one split.

    Attributes:
        pooled: time means, always.
        frames: all frames, or None where nobody asked for them.
    """

    pooled: PooledStates
    frames: FrameStates | None


@dataclass(frozen=True)
class HiddenStore:
    """Where hidden states are kept.

    Args:
        dtype: "float16" or "float32", for frames; means are float32.
        limit_gb: largest size of one encoder's states in memory, or of the folder.
        batch_seconds: seconds of audio per batch, padding included.
        folder: for memory-mapped files, which later runs find again; None keeps them in memory.
    """

    dtype: str = "float32"
    limit_gb: float = 4.0
    batch_seconds: float = 60.0
    folder: Path | None = None

    def check_size(self, encoder: SpeechEncoder, seconds: float) -> None:
        """Refuse to start what will not fit.

        Args:
            encoder: the encoder.
            seconds: length of all audio whose frames will be kept.

        Raises:
            SettingsError: says how much is needed and what would help.
        """
        need = frame_bytes(encoder, seconds, self.dtype) / 2**30
        if need > self.limit_gb:
            helps = ["raise store_gb"]
            helps += ["keep half precision (frame_dtype: float16)"] * (self.dtype == "float32")
            helps += ["keep them on disk (store: FOLDER)"] * (self.folder is None)
            raise SettingsError(
                "the hidden states do not fit the limit",
                where="store_gb",
                expected=f"at most {self.limit_gb:g} GiB",
                found=f"{need:.1f} GiB for {seconds / 3600:.1f} h of audio",
                hint="; ".join(helps),
            )

    def split(
        self,
        encoder: SpeechEncoder,
        source: FrontEndSource,
        items: Sequence[int],
        *,
        frames: bool,
        data_hash: str,
        encoder_hash: str,
    ) -> SplitStates:
        """Give the hidden states of one split, computed now or found in the folder.

        Args:
            encoder: frozen, in evaluation mode.
            source: front-end features by index.
            items: the split's utterances, as indices into `source`.
            frames: whether frames are needed too.
            data_hash: of the split.
            encoder_hash: the encoder's fingerprint.
        """
        if self.folder is None:
            return _encode(encoder, source, items, self._maker(frames), self)
        return self._on_disk(self.folder, encoder, source, items, frames, data_hash, encoder_hash)

    def _on_disk(
        self,
        folder: Path,
        encoder: SpeechEncoder,
        source: FrontEndSource,
        items: Sequence[int],
        frames: bool,
        data_hash: str,
        encoder_hash: str,
    ) -> SplitStates:
        what = [VERSION, encoder_hash, data_hash, self.dtype, "frames" if frames else "means"]
        place = folder / hash_json(what)[:32]
        if not (place / "meta.json").is_file():
            with atomic_dir(place) as temporary:
                states = _encode(encoder, source, items, self._maker(frames, temporary), self)
                np.save(temporary / "means.npy", states.pooled.means.numpy())
                starts = states.frames.starts if states.frames else []
                meta = {"starts": starts, "lengths": states.pooled.lengths}
                write_json(temporary / "meta.json", meta)
            self._evict(folder, keep=place)
        place.touch()
        return _open(place)

    def _maker(self, frames: bool, place: Path | None = None) -> _FrameMaker | None:
        return _FrameMaker(_DTYPES[self.dtype], place) if frames else None

    def _evict(self, folder: Path, keep: Path) -> None:
        """Remove what was used least recently until the folder fits the limit again."""
        entries = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
        sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for p in entries}
        total = sum(sizes.values())
        for entry in sorted(entries, key=lambda p: p.stat().st_mtime):
            if total <= self.limit_gb * 2**30:
                return
            if entry != keep:
                total -= sizes[entry]
                shutil.rmtree(entry, ignore_errors=True)
                _logger.info("hidden states: removed %s (limit %g GiB)", entry, self.limit_gb)


def frame_bytes(encoder: SpeechEncoder, seconds: float, dtype: str) -> float:
    """Give the size of all frames of all hidden states of some audio, in bytes."""
    frames = seconds * encoder.sample_rate / encoder.hop
    return frames * (encoder.num_layers + 1) * encoder.hidden_size * _DTYPES[dtype].itemsize


def length_batches(durations: Sequence[float], max_seconds: float) -> list[list[int]]:
    """Cut utterances, longest first, into batches of at most so many seconds with padding.

    A pure function of the durations, so that a state's last bit does not depend on what else is
    computed in a run.
    """
    order = sorted(range(len(durations)), key=lambda i: (-durations[i], i))
    result: list[list[int]] = []
    for i in order:
        if result and durations[result[-1][0]] * (len(result[-1]) + 1) <= max_seconds:
            result[-1].append(i)
        else:
            result.append([i])
    return result


@dataclass(frozen=True)
class _FrameMaker:
    dtype: torch.dtype
    place: Path | None

    def make(self, shape: tuple[int, int, int]) -> Tensor:
        if self.place is None:
            return torch.empty(shape, dtype=self.dtype)
        kind = np.float16 if self.dtype == torch.float16 else np.float32
        file = self.place / "frames.npy"
        return torch.from_numpy(np.lib.format.open_memmap(file, "w+", dtype=kind, shape=shape))


@torch.no_grad()
def _encode(
    encoder: SpeechEncoder,
    source: FrontEndSource,
    items: Sequence[int],
    maker: _FrameMaker | None,
    store: HiddenStore,
) -> SplitStates:
    durations = [source.durations[i] for i in items]
    rooms = [int(d * encoder.sample_rate / encoder.hop) + 2 for d in durations]
    starts = [0, *np.cumsum(rooms).tolist()]
    lengths = [0] * len(items)
    shape = (encoder.num_layers + 1, starts.pop(), encoder.hidden_size)
    frames = None if maker is None else maker.make(shape)
    means = torch.empty(shape[0], len(items), shape[2])
    for batch in length_batches(durations, store.batch_seconds):
        features = source.load([items[i] for i in batch])
        sizes = torch.tensor([len(f) for f in features], device=encoder.device)
        padded = pad_sequence(features, batch_first=True).to(encoder.device)
        states, valid = encoder.from_front_end(padded, sizes)
        for i, length in zip(batch, valid.tolist(), strict=True):
            lengths[i] = _checked(length, rooms[i], durations[i])
        for k, state in enumerate(states):
            means[k, batch] = masked_mean(state.float(), valid).cpu()
            if frames is not None:
                kept = state.to(frames.dtype).cpu()
                for row, i in enumerate(batch):
                    frames[k, starts[i] : starts[i] + lengths[i]] = kept[row, : lengths[i]]
    return _views(means, frames, starts, lengths)


def _checked(length: int, room: int, duration: float) -> int:
    if length > room:
        raise DataError(
            "an utterance has more audio than its cut says",
            expected=f"at most {room} frames in {duration:.2f} s",
            found=f"{length} frames",
            hint="make the cuts anew",
        )
    return length


def _views(
    means: Tensor, frames: Tensor | None, starts: list[int], lengths: list[int]
) -> SplitStates:
    kept = None if frames is None else FrameStates(frames, starts, lengths)
    return SplitStates(PooledStates(means, lengths), kept)


def _open(place: Path) -> SplitStates:
    meta = read_json(place / "meta.json")
    means = torch.from_numpy(np.load(place / "means.npy"))
    file = place / "frames.npy"
    # Copy on write: torch wants writable memory, the file stays as it is.
    frames = torch.from_numpy(np.load(file, mmap_mode="c")) if file.is_file() else None
    return _views(means, frames, meta["starts"], meta["lengths"])
