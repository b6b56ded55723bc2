"""Hidden states on disk: shards that are written whole, checked when opened, and dropped by age.

A store's folder holds one folder per encoder and in it one folder per shard:

    means.bin   time means (K, N, D), float32
    frames.bin  frames (K, F, D) in the kept type, where they were wanted
    meta.json   the utterances' keys, first frames and lengths, and a checksum of each file

Files are looked up by utterance, so that tasks and splits that read the same audio share them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from speechft.core.claims import lock_if_free
from speechft.core.files import atomic_dir, hash_file, hash_json, read_json, write_json
from speechft.core.logging import get_logger
from speechft.hidden.library import DTYPES

META: Final = "meta.json"
MEANS: Final = "means.bin"
FRAMES: Final = "frames.bin"
_LEFT_BEHIND_SECONDS: Final = 3600.0  # writing a shard takes seconds
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Shard:
    """What a shard's `meta.json` says.

    Attributes:
        place: the shard's folder.
        keys: the utterances in it.
        starts: first frame of each.
        lengths: frames of each.
        shape: K, D.
        dtype: of frames, or None where there are only time means.
        checksums: file → SHA-256.
    """

    place: Path
    keys: list[str]
    starts: list[int]
    lengths: list[int]
    shape: tuple[int, int]
    dtype: str | None
    checksums: dict[str, str]

    def means(self) -> Tensor:
        """Give the time means (K, N, D), memory-mapped."""
        states, width = self.shape
        return _mapped(self.place / MEANS, (states, len(self.keys), width), torch.float32)

    def frames(self) -> Tensor:
        """Give the frames (K, F, D), memory-mapped."""
        states, width = self.shape
        return _mapped(
            self.place / FRAMES, (states, sum(self.lengths), width), DTYPES[str(self.dtype)]
        )

    def sound(self, files: Collection[str]) -> bool:
        """Tell whether files are there with the content that was written."""
        try:
            return all(hash_file(self.place / name) == self.checksums[name] for name in files)
        except (OSError, KeyError):
            return False


@dataclass
class ShardFolder:
    """One encoder's shards.

    Args:
        place: its folder, inside the store's.
        dtype: type of frames that are looked for; None if time means are enough.
    """

    place: Path
    dtype: str | None
    _sound: set[str] = field(default_factory=set, init=False)
    _read_before: dict[str, Shard] = field(default_factory=dict, init=False)

    @property
    def files(self) -> tuple[str, ...]:
        """The files of a shard that are looked for."""
        return (MEANS,) if self.dtype is None else (MEANS, FRAMES)

    def find(self, keys: Collection[str]) -> dict[str, tuple[Shard, int]]:
        """Find utterances: key → shard and row. Damaged shards are removed with a warning."""
        wanted = set(keys)
        shards = [shard for shard in self._shards() if wanted.intersection(shard.keys)]
        unchecked = [s for s in shards if s.place.name not in self._sound]
        with ThreadPoolExecutor(4) as pool:
            good = list(pool.map(lambda s: s.sound(self.files), unchecked))
        for shard, is_good in zip(unchecked, good, strict=True):
            if is_good:
                self._sound.add(shard.place.name)
            else:
                self._remove_damaged(shard.place, "its content is not what was written")
        return {
            key: (shard, row)
            for shard in shards
            if shard.place.name in self._sound
            for row, key in enumerate(shard.keys)
            if key in wanted
        }

    def known(self) -> dict[str, Shard]:
        """Give the shard of every utterance, without a look at its content."""
        return {key: shard for shard in self._shards() for key in shard.keys}

    def name_of(self, keys: Sequence[str]) -> str:
        """Give the name of a shard that holds these utterances."""
        return hash_json([self.dtype or "means", list(keys)])[:32]

    def has(self, name: str) -> bool:
        """Tell whether a shard is there."""
        return (self.place / name / META).is_file()

    def write(
        self, keys: Sequence[str], means: Tensor, frames: Sequence[Tensor], lengths: Sequence[int]
    ) -> Path:
        """Write a shard in one move.

        Args:
            keys: its utterances.
            means: (K, N, D).
            frames: of each utterance (K, T, D); nothing where only means are kept.
            lengths: frames of each utterance.
        """
        place = self.place / self.name_of(keys)
        starts = [0, *accumulate(lengths[:-1])]
        meta: dict[str, Any] = {
            "keys": list(keys),
            "starts": starts,
            "lengths": list(lengths),
            "shape": [means.shape[0], means.shape[2]],
            "dtype": self.dtype,
        }
        if self.has(place.name):
            return place
        try:
            with atomic_dir(place) as temporary:
                means.contiguous().numpy().tofile(temporary / MEANS)
                if frames:
                    torch.cat(list(frames), dim=1).numpy().tofile(temporary / FRAMES)
                sums = {name: hash_file(temporary / name) for name in self.files}
                meta["checksums"] = sums
                write_json(temporary / META, {**meta, "check": hash_json(meta)})
        except OSError:
            # Another process may have been quicker to put the same shard there.
            if not self.has(place.name):
                raise
            return place
        self._sound.add(place.name)
        return place

    def claim(self, name: str) -> AbstractContextManager[bool]:
        """Claim a piece of work among processes; gives False where another one has it."""
        return lock_if_free(self.place / f".{name}.lock")

    def _shards(self) -> Iterator[Shard]:
        for place in sorted(self.place.iterdir() if self.place.is_dir() else []):
            if place.name.startswith("."):
                _remove_if_left_behind(place)
                continue
            shard = self._read_before.get(place.name) or self._read(place)
            if shard is not None:
                self._read_before[place.name] = shard
                yield shard

    def _read(self, place: Path) -> Shard | None:
        """Read a shard's description; None where it is gone, damaged or of another type."""
        try:
            meta = dict(read_json(place / META))
            check = meta.pop("check")
            if check != hash_json(meta):
                raise ValueError("its description is damaged")
        except FileNotFoundError:
            if place.is_dir():
                self._remove_damaged(place, f"{META} is missing")
            return None
        except (ValueError, KeyError, TypeError):
            self._remove_damaged(place, f"{META} is damaged")
            return None
        if self.dtype is not None and meta["dtype"] != self.dtype:
            return None
        states, width = meta.pop("shape")
        return Shard(place=place, shape=(states, width), **meta)

    def _remove_damaged(self, place: Path, why: str) -> None:
        self._read_before.pop(place.name, None)
        _logger.warning(
            "hidden states: the shard %s is damaged (%s); it is computed again", place, why
        )
        remove(place)


def evict(folder: Path, limit_bytes: float, keep: Collection[Path]) -> None:
    """Remove the shards of a store that were used least recently until the rest fits.

    Args:
        folder: the store's.
        limit_bytes: what may stay.
        keep: shards that stay in any case.
    """
    entries = {meta.parent for deep in ("*", "*/*") for meta in folder.glob(f"{deep}/{META}")}
    entries = {p for p in entries if not p.name.startswith(".")}
    sizes = {p: _size(p) for p in entries}
    total = sum(sizes.values())
    for entry in sorted(entries, key=_last_use):
        if total <= limit_bytes:
            return
        if entry not in keep:
            total -= sizes[entry]
            remove(entry)
            _logger.info("hidden states: removed %s to keep to the limit", entry)


def remove(place: Path) -> None:
    """Remove a shard: out of sight in one move, then from the disk."""
    hidden = place.with_name(f".{place.name}.{time.time_ns()}.old")
    try:
        place.replace(hidden)
    except OSError:
        return
    shutil.rmtree(hidden, ignore_errors=True)


def group_name(version: int, encoder_hash: str, about: Mapping[str, Any]) -> str:
    """Give the name of an encoder's folder."""
    return hash_json([version, encoder_hash, dict(about)])[:32]


def _remove_if_left_behind(place: Path) -> None:
    """Remove what a killed process left; what is new may belong to a living one."""
    if place.suffix in (".tmp", ".old") and _last_use(place) < time.time() - _LEFT_BEHIND_SECONDS:
        shutil.rmtree(place, ignore_errors=True)


def _last_use(place: Path) -> float:
    try:
        return place.stat().st_mtime
    except OSError:
        return 0.0


def _size(place: Path) -> int:
    try:
        return sum(f.stat().st_size for f in place.iterdir())
    except OSError:
        return 0


def _mapped(path: Path, shape: tuple[int, int, int], dtype: torch.dtype) -> Tensor:
    """Map a file: private pages, no file handle stays open."""
    count = shape[0] * shape[1] * shape[2]
    if path.stat().st_size != count * dtype.itemsize:
        raise FileNotFoundError(path)
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype).view(shape)
