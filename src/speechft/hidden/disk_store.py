"""Hidden states on disk: entries that are written whole, checked when opened, dropped by age.

    STORE/entries.txt      names of all entries; nothing else below STORE is ever removed
    STORE/ENCODER/ENTRY/   some utterances' states, an artefact:
        means.bin          time means (N, K, D), float32
        frames.bin         frames (K, T, D), one utterance after the other, of as many of them as
                           had frames wanted
        speechft.json      the record: keys and lengths of the utterances, type of the frames,
                           sizes and hashes of the files

An entry is named by its record, and utterances are looked up by their keys, so that tasks, splits
and data that read the same audio share them.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from speechft.core.artifact import Artifact, hash_values, read_record
from speechft.core.files import atomic_dir, write_text
from speechft.core.locks import lock_if_free, wait_for_lock
from speechft.core.logging import get_logger
from speechft.core.stopping import threads
from speechft.hidden.states import DTYPES, Encoded

VERSION: Final = 1  # raise it when the content of stored states changes
INDEX: Final = "entries.txt"
MEANS: Final = "means.bin"
FRAMES: Final = "frames.bin"
_NAME: Final = re.compile(r"[0-9a-f]{32}/[0-9a-f]{32}")
_LEFT_BEHIND_SECONDS: Final = 3600.0  # writing an entry takes seconds
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Entry:
    """What an entry's record says.

    Attributes:
        artifact: the entry.
        keys: the utterances in it, those with frames first.
        lengths: frames of each.
        framed: how many have frames.
        dtype: of frames.
        shape: number of hidden states K, and their width D.
    """

    artifact: Artifact
    keys: list[str]
    lengths: list[int]
    framed: int
    dtype: str
    shape: tuple[int, int]

    def read(self) -> list[Encoded]:
        """Map the files; no file handle stays open.

        Raises:
            OSError: another process has just removed the entry.
            ValueError: a file is not what was written.
        """
        place, (states, width) = self.artifact.folder, self.shape
        if not self.artifact.done:
            raise ValueError
        os.utime(place)  # it is removed after those that are not in use
        means = _mapped(place / MEANS, torch.float32, len(self.keys) * states * width)
        ends = list(accumulate(n * states * width for n in self.lengths[: self.framed]))
        frames: list[Tensor | None] = [None] * len(self.keys)
        if self.framed:
            whole = _mapped(place / FRAMES, DTYPES[self.dtype], ends[-1])
            parts = whole.tensor_split(ends[:-1])
            frames[: self.framed] = [own.view(states, -1, width) for own in parts]
        rows = zip(means.view(-1, states, width), self.lengths, frames, strict=True)
        return [Encoded(mean, length, own) for mean, length, own in rows]


class StoreFolder:
    """One encoder's entries in a store's folder.

    Args:
        root: the store's folder.
        encoder_id: identity of the encoder.
        dtype: type of frames.
        limit_bytes: what may lie in the whole store.
    """

    def __init__(self, root: Path, encoder_id: str, dtype: str, limit_bytes: float) -> None:
        self.root, self.dtype, self.limit_bytes = root, dtype, limit_bytes
        self.encoder_id = encoder_id
        self.place = root / hash_values([VERSION, encoder_id])[:32]
        self._entries: dict[str, Entry] = {}
        self._sound: dict[str, list[Encoded]] = {}
        self._written: set[str] = set()
        self._remove_leftovers()

    def find(self, wanted: Mapping[str, bool]) -> dict[str, Encoded]:
        """Find utterances; damaged entries are removed with a warning.

        Args:
            wanted: key → whether frames are wanted, too.
        """
        for name in _names(self.root):
            place = self.root / name
            if place.parent == self.place and place.name not in self._entries and place.is_dir():
                self._note(place)
        entries = [e for e in self._entries.values() if not wanted.keys().isdisjoint(e.keys)]
        with threads(4) as pool:
            read = list(pool.map(self._open, entries))
        found: dict[str, Encoded] = {}
        for entry, states in zip(entries, read, strict=True):
            for key, own in zip(entry.keys, states, strict=False):
                framed = own.frames is not None and entry.dtype == self.dtype
                if key in wanted and (framed or (not wanted[key] and key not in found)):
                    found[key] = own if framed else own.without_frames()
        return found

    def write(self, utterances: Mapping[str, Encoded]) -> None:
        """Write an entry in one move, once there is room for it."""
        if not utterances:
            return
        ordered = sorted(utterances.items(), key=lambda pair: pair[1].frames is None)
        frames = [own.frames for _, own in ordered if own.frames is not None]
        means = torch.stack([own.mean for _, own in ordered])
        depends = {
            "encoder": self.encoder_id,
            "keys": [key for key, _ in ordered],
            "lengths": [own.length for _, own in ordered],
            "framed": len(frames),
            "dtype": self.dtype,
            "shape": list(means.shape[1:]),
        }
        artifact = Artifact(self.place, "hidden states", depends, VERSION)
        place = self.place / artifact.id[:32]
        self._written.add(place.name)
        self._announce(place, means.nbytes + sum(own.nbytes for own in frames))
        with atomic_dir(place) as artifact.folder:
            means.numpy().tofile(artifact.folder / MEANS)
            if frames:
                with (artifact.folder / FRAMES).open("wb") as file:
                    for own in frames:
                        own.contiguous().numpy().tofile(file)
            artifact.end([MEANS, FRAMES] if frames else [MEANS])

    def claim(self, keys: Sequence[str]) -> AbstractContextManager[bool]:
        """Claim a piece of work among processes; gives False where another one has it."""
        return lock_if_free(self.place / f".{hash_values(list(keys))[:2]}.lock")

    def _note(self, place: Path) -> None:
        """Read an entry's record; one that is damaged is removed."""
        depends = (read_record(place) or {}).get("depends")
        known = depends if isinstance(depends, dict) else {}
        artifact = Artifact(place, "hidden states", known, VERSION)
        if artifact.id[:32] == place.name:
            own = {name: value for name, value in known.items() if name != "encoder"}
            self._entries[place.name] = Entry(artifact, **own)
        else:
            self._remove_damaged(place, "its record is damaged")

    def _open(self, entry: Entry) -> list[Encoded]:
        """Give an entry's states; none where it is gone or damaged."""
        place = entry.artifact.folder
        if place.name not in self._sound:
            try:
                self._sound[place.name] = entry.read()
            except (OSError, ValueError, RuntimeError):
                self._entries.pop(place.name, None)
                if place.is_dir():
                    self._remove_damaged(place, "its content is not what was written")
                return []
        return self._sound[place.name]

    def _announce(self, place: Path, size: int) -> None:
        """Make room for an entry, and put its name on the list."""
        with wait_for_lock(self.root / ".lock"):
            names = _names(self.root)
            kept = self._evict(names, self.limit_bytes - size)
            name = place.relative_to(self.root).as_posix()
            kept = [*kept, *([] if name in kept else [name])]
            if kept != names:
                write_text(self.root / INDEX, "".join(f"{one}\n" for one in kept))

    def _evict(self, names: Sequence[str], limit_bytes: float) -> list[str]:
        """Remove the entries that were used least recently until the rest fits; give the rest."""
        sizes = {name: _size(self.root / name) for name in names}
        total, kept = sum(sizes.values()), list(names)
        in_use = self._written | self._sound.keys()
        for name in sorted(names, key=lambda one: _last_use(self.root / one)):
            if total <= limit_bytes:
                break
            if sizes[name] and Path(name).name not in in_use:
                total -= sizes[name]
                kept.remove(name)
                _remove(self.root / name)
                _logger.info("hidden states: removed %s to keep to the limit", self.root / name)
        return kept

    def _remove_damaged(self, place: Path, why: str) -> None:
        _logger.warning(
            "hidden states: the entry %s is damaged (%s); it is computed again", place, why
        )
        _remove(place)

    def _remove_leftovers(self) -> None:
        """Remove what killed processes left; what is new may belong to a living one."""
        for place in self.place.glob(f".{'?' * 32}.*"):
            old = _last_use(place) < time.time() - _LEFT_BEHIND_SECONDS
            if place.suffix in (".tmp", ".old") and old:
                shutil.rmtree(place, ignore_errors=True)


def bytes_of(root: Path) -> int:
    """Give the size of all entries of a store."""
    return sum(_size(root / name) for name in _names(root))


def _names(root: Path) -> list[str]:
    """Give the names of the entries that were ever written here and not removed to make room."""
    try:
        lines = (root / INDEX).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [line for line in lines if _NAME.fullmatch(line)]


def _remove(place: Path) -> None:
    """Remove an entry: out of sight in one move, then from the disk."""
    hidden = place.with_name(f".{place.name}.{time.time_ns()}.old")
    with suppress(OSError):
        place.replace(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


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


def _mapped(path: Path, dtype: torch.dtype, count: int) -> Tensor:
    """Map a file: private pages, no file handle stays open."""
    return torch.from_file(str(path), shared=False, size=count, dtype=dtype)
