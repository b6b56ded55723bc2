"""Hidden states of a data set's utterances, each read once: time means, and frames where needed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from speechft.core.artifact import hash_values
from speechft.core.errors import DataError, SettingsError
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.encoders.identity import EncodingPrecision
from speechft.hidden.disk_store import StoreFolder, bytes_of
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.hidden.sizes import frame_bytes, mean_bytes
from speechft.hidden.states import (
    Encoded,
    EncodedFrames,
    FrameStates,
    Passes,
    PooledStates,
    Reader,
    SplitStates,
)

# What a killed process loses at most, and what one process takes on before others.
PIECE_BYTES: Final = 256 << 20
PIECE_SECONDS: Final = 1800.0
PIECES: Final = 32  # at least, so that several processes have some each
LARGE_BYTES: Final = 1 << 30  # time means beyond this lie in a file, not in memory
ATTEMPTS: Final = 10
_POLL_SECONDS: Final = 0.2
_GIB: Final = 2**30
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Request:
    """The states that one split needs.

    Attributes:
        items: its utterances in their order, as indices.
        frames: whether frames are needed besides time means.
    """

    items: list[int]
    frames: bool


@dataclass(frozen=True)
class HiddenStore:
    """Where hidden states are kept.

    Args:
        dtype: "float16" or "float32", for frames; means are float32.
        limit_gb: largest size of one encoder's states in memory, or of the folder.
        batch_seconds: seconds of audio per batch on a GPU, padding included.
        folder: for memory-mapped files, which later runs find again; None keeps all in memory.
        keep: "frames" keeps time means and frames; "pooled" writes time means alone, and "none"
            nothing. Frames that are not kept lie in memory if they fit the limit; else the encoder
            reads the utterances anew for every batch.
        precision: "float32" or "bfloat16", of the encoder's passes; each has files of its own.
    """

    dtype: str = "float32"
    limit_gb: float = 4.0
    batch_seconds: float = 60.0
    folder: Path | None = None
    keep: Literal["pooled", "frames", "none"] = "frames"
    precision: EncodingPrecision = "float32"

    @property
    def _root(self) -> Path | None:
        """The folder, where anything is written at all."""
        return None if self.keep == "none" else self.folder

    def check_sizes(
        self,
        encoder: SpeechEncoder,
        needs: Mapping[str, tuple[int, float]],
        say: Callable[[str], object] = _logger.info,
    ) -> dict[str, SettingsError]:
        """Say how much room the states of several data need; give what will not fit, and why.

        The states of one data go when those of the next come, if there is no room for both. The
        disk must hold all of them together, or as much as the limit lets stay.

        Args:
            encoder: the encoder.
            needs: name of the data → utterances, and seconds of audio whose frames are needed.
            say: told how much room each data needs.
        """
        refused: dict[str, SettingsError] = {}
        fitting: dict[str, float] = {}
        for name, (utterances, seconds) in needs.items():
            means = mean_bytes(encoder, utterances) / _GIB
            frames = frame_bytes(encoder, seconds, self.dtype) / _GIB
            text = f"{_size(means)} of time means of {utterances} utterances"
            if frames:
                text += f", {_size(frames)} of frames ({self.dtype}) of {seconds / 3600:.2f} h"
            place = self._root or "memory"
            say(f"hidden states of {name}: at most {text} in {place}")
            need = means + (frames if self.keep == "frames" else 0.0)
            if self.keep == "frames" and need > self.limit_gb:
                most = f"at most {self.limit_gb:g} GiB"
                error: SettingsError | None = self._too_large(need, "store_gb", most, text)
            else:
                error = self._disk_error(need, text)
            if error is None:
                fitting[name] = need
            else:
                refused[name] = error
        if self._root is not None and len(fitting) > 1:
            text = f"{_size(sum(fitting.values()))} together"
            _logger.info("hidden states: %s, of which %s may stay", text, _size(self.limit_gb))
            error = self._disk_error(min(sum(fitting.values()), self.limit_gb), text)
            if error is not None:
                refused |= dict.fromkeys(fitting, error)
        return refused

    def _disk_error(self, need: float, text: str) -> SettingsError | None:
        """Give why the disk cannot hold so many GiB, if states are written and it cannot."""
        if self._root is None:
            return None
        self._root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._root).free / _GIB
        if need <= free + bytes_of(self._root) / _GIB:
            return None
        expected = f"at most {free:.1f} GiB, which is free"
        return self._too_large(need, str(self._root), expected, text)

    def _too_large(self, need: float, where: str, expected: str, text: str) -> SettingsError:
        helps = ["raise store_gb"] if where == "store_gb" else ["choose a larger disk"]
        helps += ["keep half precision (frame_dtype: float16)"] * (self.dtype == "float32")
        helps += ["keep them on disk (store: FOLDER)"] * (self.folder is None)
        helps += ["encode anew for every batch, slowly (keep: pooled)"]
        return SettingsError(
            "the hidden states do not fit the limit",
            where=where,
            expected=expected,
            found=f"{_size(need)}: {text}",
            hint="; ".join(helps),
        )

    def open(
        self,
        encoder: SpeechEncoder,
        source: FrontEndCache,
        requests: Mapping[str, Request],
        encoder_id: str,
        passes: Passes | None = None,
        also_framed: Collection[int] = (),
    ) -> dict[str, SplitStates]:
        """Give the hidden states of splits, computed now or found in the folder.

        Args:
            encoder: frozen, in evaluation mode.
            source: front-end features of all utterances that may be asked for, each audio once.
            requests: split → what it needs.
            encoder_id: identity of the encoder.
            passes: counts what the encoder reads.
            also_framed: utterances whose frames other processes need: where one is read, they are
                written, too.

        Raises:
            DataError: an utterance is longer than its cut says, or its states are not finite.
        """
        reader = Reader(
            encoder, source, self.dtype, passes or Passes(), self.batch_seconds, self.precision
        )
        if self.precision != "float32":
            encoder_id = hash_values([encoder_id, self.precision])
        framed = {i for r in requests.values() if r.frames for i in r.items}
        wanted = {i: i in framed for r in requests.values() for i in r.items}
        on_disk = self._root is not None and self.keep == "frames"
        streams = not on_disk and not self._fits(reader, framed)
        in_memory = set() if on_disk or streams else framed
        large = mean_bytes(encoder, sum(len(r.items) for r in requests.values())) > LARGE_BYTES
        result = _Splits(requests, encoder, self._root if large else None)
        if self._root is None:
            reader.expect(wanted)
            result.add(reader.read(list(wanted), in_memory))
        else:
            making = _Making(
                StoreFolder(self._root, encoder_id, self.dtype, self.limit_gb * _GIB), reader
            )
            result.add(making.read_to_memory(in_memory))
            rest = {i: on_disk and frames for i, frames in wanted.items() if i not in in_memory}
            result.add(making.complete(rest, framed.union(also_framed) if on_disk else ()).items())
        return {name: result.split(name, reader if streams else None) for name in requests}

    def _fits(self, reader: Reader, framed: Collection[int]) -> bool:
        seconds = sum(reader.source.durations[i] for i in framed)
        fits = frame_bytes(reader.encoder, seconds, self.dtype) <= self.limit_gb * _GIB
        if not fits:
            _logger.warning(
                "hidden states: %.1f h of frames do not fit store_gb and are not kept; the "
                "encoder reads every utterance anew each time a probe does, which is slow",
                seconds / 3600,
            )
        return fits


@dataclass(frozen=True)
class _Making:
    """Computes what is missing in a folder and nothing else, together with other processes."""

    folder: StoreFolder
    reader: Reader

    def read_to_memory(self, items: Collection[int]) -> Iterator[tuple[int, Encoded]]:
        """Read utterances with frames that are not written; time means are, where they are new."""
        for piece in self._pieces():
            part = dict(self.reader.read([i for i in piece if i in items], items))
            known = self._find(dict.fromkeys(part, False))
            new = {i: own for i, own in part.items() if i not in known}
            self.folder.write({self._key(i): own.without_frames() for i, own in new.items()})
            yield from part.items()

    def complete(self, wanted: Mapping[int, bool], framed: Collection[int]) -> dict[int, Encoded]:
        """Make what is missing, piece by piece, with whoever else makes some.

        Args:
            wanted: utterance → whether frames are wanted.
            framed: utterances whose frames are written if they are read.
        """
        made = 0
        while made < ATTEMPTS:
            found = self._find(wanted)
            missing = wanted.keys() - found.keys()
            if not missing:
                return found
            self.reader.expect(missing)
            progress = False
            for piece in self._pieces():
                left = [i for i in piece if i in missing]
                if not left:
                    continue
                with self.folder.claim([self._key(i) for i in piece]) as mine:
                    if mine:
                        there = self._find({i: wanted[i] for i in left})  # made meanwhile
                        read = self.reader.read([i for i in left if i not in there], framed)
                        self.folder.write({self._key(i): own for i, own in read})
                        progress = True
            made += progress
            if not progress:
                time.sleep(_POLL_SECONDS)
        raise DataError(
            "hidden states disappear, or are damaged, as soon as they are written",
            where=self.folder.place,
            hint="check the disk, raise store_gb, or give each run a store of its own",
        )

    def _find(self, wanted: Mapping[int, bool]) -> dict[int, Encoded]:
        keys = {i: self._key(i) for i in wanted}
        found = self.folder.find({keys[i]: frames for i, frames in wanted.items()})
        return {i: found[key] for i, key in keys.items() if key in found}

    def _key(self, item: int) -> str:
        return str(self.reader.source.keys[item])

    def _pieces(self) -> Iterator[list[int]]:
        """Cut all utterances, the longest first, into pieces; the same in every process."""
        durations = self.reader.source.durations
        a_second = frame_bytes(self.reader.encoder, 1.0, self.reader.dtype)
        most = min(PIECE_SECONDS, sum(durations) / PIECES, PIECE_BYTES / a_second)
        piece: list[int] = []
        seconds = 0.0
        for i in sorted(range(len(durations)), key=lambda i: (-durations[i], i)):
            if piece and seconds + durations[i] > most:
                yield piece
                piece, seconds = [], 0.0
            piece.append(i)
            seconds += durations[i]
        if piece:
            yield piece


class _Splits:
    """Puts the states of every split together as their utterances come."""

    def __init__(
        self, requests: Mapping[str, Request], encoder: SpeechEncoder, folder: Path | None
    ) -> None:
        self._requests = requests
        self._means: dict[str, Tensor] = {}
        self._rows: dict[int, list[tuple[str, int]]] = {}
        self._lengths: dict[int, int] = {}
        self._frames: dict[int, Tensor] = {}
        for name, request in requests.items():
            shape = (encoder.num_layers + 1, len(request.items), encoder.hidden_size)
            self._means[name] = _room(shape, folder)
            for row, i in enumerate(request.items):
                self._rows.setdefault(i, []).append((name, row))

    def add(self, found: Iterable[tuple[int, Encoded]]) -> None:
        """Take index and states of utterances."""
        for i, own in found:
            self._lengths[i] = own.length
            if own.frames is not None:
                self._frames[i] = own.frames
            for name, row in self._rows[i]:
                self._means[name][:, row] = own.mean

    def split(self, name: str, streamed_by: Reader | None) -> SplitStates:
        """Give a split's states; its frames as they were added, or computed anew when needed."""
        request = self._requests[name]
        lengths = [self._lengths[i] for i in request.items]
        pooled = PooledStates(self._means[name], lengths)
        if not request.frames:
            return SplitStates(pooled, None)
        if streamed_by is not None:
            return SplitStates(pooled, EncodedFrames(streamed_by, request.items, lengths))
        return SplitStates(pooled, FrameStates([self._frames[i] for i in request.items]))


def _room(shape: tuple[int, int, int], folder: Path | None) -> Tensor:
    """Give an empty tensor, in a nameless file of a folder where one is given."""
    if folder is None:
        return torch.empty(shape)
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _size(gib: float) -> str:
    for unit, share in (("GiB", 1), ("MiB", 2**10)):
        if gib * share >= 1:
            return f"{gib * share:.1f} {unit}"
    return f"{gib * 2**20:.1f} KiB"
