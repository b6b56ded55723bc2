"""Hidden states computed once per utterance and encoder: time means, and frames where needed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from speechft.core.errors import SettingsError
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.hidden.library import (
    Library,
    Passes,
    Request,
    frame_bytes,
    mean_bytes,
)
from speechft.hidden.looks import in_memory, on_disk, streamed
from speechft.hidden.shards import ShardFolder, group_name
from speechft.hidden.views import SplitStates
from speechft.hidden.work import Rules, Work

__all__ = ["HiddenStore", "SplitStates"]

VERSION: Final = 3  # raise it when the content of stored states changes
_GIB: Final = 2**30
_logger = get_logger(__name__)


@dataclass(frozen=True)
class HiddenStore:
    """Where hidden states are kept.

    Args:
        dtype: "float16" or "float32", for frames; means are float32.
        limit_gb: largest size of one encoder's states in memory, or of the folder.
        batch_seconds: seconds of audio per batch, padding included.
        folder: for memory-mapped shards, which later runs find again; None keeps all in memory.
        keep: "frames" keeps time means and frames; "pooled" writes time means alone, and "none"
            nothing. Frames that are not kept lie in memory if they fit the limit; else the encoder
            reads the utterances anew for every batch.
        rank: this process' number among those that encode the same data into one folder.
        processes: their count.
    """

    dtype: str = "float32"
    limit_gb: float = 4.0
    batch_seconds: float = 60.0
    folder: Path | None = None
    keep: Literal["pooled", "frames", "none"] = "frames"
    rank: int = 0
    processes: int = 1
    _used: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def _writes_frames(self) -> bool:
        return self.folder is not None and self.keep == "frames"

    def check_sizes(
        self, encoder: SpeechEncoder, needs: Mapping[str, tuple[int, float]]
    ) -> dict[str, SettingsError]:
        """Say how much room the states of several data need; give what will not fit, and why.

        The states of one data go when those of the next come, if there is no room for both. The
        disk must hold all of them together, or as much as the limit lets stay.

        Args:
            encoder: the encoder.
            needs: name of the data → utterances, and seconds of audio whose frames are needed.
        """
        refused: dict[str, SettingsError] = {}
        for name, (utterances, seconds) in needs.items():
            try:
                self.check_size(encoder, utterances, seconds, name)
            except SettingsError as error:
                refused[name] = error
        rest = {name: need for name, need in needs.items() if name not in refused}
        if self.folder is None or self.keep == "none" or len(rest) < 2:
            return refused
        written = sum(self._written(encoder, *need) for need in rest.values())
        text = f"{_size(written)} together"
        _logger.info("hidden states: %s, of which %s may stay", text, _size(self.limit_gb))
        try:
            self._check_disk(self.folder, min(written, self.limit_gb), text)
        except SettingsError as error:
            refused |= dict.fromkeys(rest, error)
        return refused

    def check_size(
        self, encoder: SpeechEncoder, utterances: int, seconds: float, name: str = ""
    ) -> None:
        """Say how much room the states need; refuse to start what will not fit.

        Args:
            encoder: the encoder.
            utterances: number of utterances.
            seconds: length of all audio whose frames are needed.
            name: of the data.

        Raises:
            SettingsError: says how much is needed and what would help.
        """
        means = mean_bytes(encoder, utterances) / _GIB
        frames = frame_bytes(encoder, seconds, self.dtype) / _GIB
        where = self.folder if self.folder is not None and self.keep != "none" else "memory"
        text = f"{_size(means)} of time means of {utterances} utterances"
        if frames:
            text += f", {_size(frames)} of frames ({self.dtype}) of {seconds / 3600:.2f} h"
        of = f" of {name}" if name else ""
        _logger.info("hidden states%s: at most %s in %s", of, text, where)
        need = means + frames
        if self.keep == "frames" and need > self.limit_gb:
            raise self._too_large(need, "store_gb", f"at most {self.limit_gb:g} GiB", text)
        if self.folder is not None and self.keep != "none":
            self._check_disk(self.folder, self._written(encoder, utterances, seconds), text)

    def _written(self, encoder: SpeechEncoder, utterances: int, seconds: float) -> float:
        """Give how much goes to the folder, in GiB."""
        frames = frame_bytes(encoder, seconds, self.dtype) if self.keep == "frames" else 0.0
        return (mean_bytes(encoder, utterances) + frames) / _GIB

    def _check_disk(self, folder: Path, need: float, text: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free / _GIB
        there = sum(f.stat().st_size for f in folder.rglob("*.bin")) / _GIB
        if need > free + there:
            raise self._too_large(need, str(folder), f"at most {free:.1f} GiB, which is free", text)

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
        library: Library,
        requests: Mapping[str, Request],
        encoder_hash: str,
        passes: Passes | None = None,
        further: Sequence[Request] = (),
    ) -> dict[str, SplitStates]:
        """Give the hidden states of splits, computed now or found in the folder.

        Args:
            encoder: frozen, in evaluation mode.
            library: the utterances.
            requests: split → what it needs.
            encoder_hash: the encoder's fingerprint.
            passes: counts what the encoder reads.
            further: what other processes need; it is written on the way, so that they need no pass
                of their own.

        Raises:
            DataError: an utterance is longer than its cut says.
        """
        rules = Rules(
            self.dtype,
            self.limit_gb * _GIB,
            self.batch_seconds,
            self.folder,
            self.rank,
            self.processes,
            self._used,
        )
        work = Work(rules, encoder, library, dict(requests), passes or Passes(), tuple(further))
        framed = work.items(frames=True)
        if self.folder is None or self.keep == "none":
            return in_memory(work, framed) if self._fits(work, framed) else streamed(work, None)
        place = self.folder / group_name(VERSION, encoder_hash, _about(encoder))
        if framed and not self._writes_frames:
            if not self._fits(work, framed):
                return streamed(work, ShardFolder(place, None))
            return in_memory(work, framed, ShardFolder(place, None))
        return on_disk(work, place)

    def _fits(self, work: Work, framed: Collection[int]) -> bool:
        seconds = sum(work.library.source.durations[i] for i in framed)
        fits = frame_bytes(work.encoder, seconds, self.dtype) <= self.limit_gb * _GIB
        if not fits:
            _logger.warning(
                "hidden states: %.1f h of frames do not fit store_gb and are not kept; the "
                "encoder reads every utterance anew each time a probe does, which is slow",
                seconds / 3600,
            )
        return fits


def _size(gib: float) -> str:
    for unit, share in (("GiB", 1), ("MiB", 2**10)):
        if gib * share >= 1:
            return f"{gib * share:.1f} {unit}"
    return f"{gib * 2**20:.1f} KiB"


def _about(encoder: SpeechEncoder) -> dict[str, Any]:
    """Give what the states depend on besides the weights."""
    config = {k: v for k, v in encoder.config.to_dict().items() if k not in _NOT_COMPUTING}
    return {"family": encoder.family, "preprocessor": encoder.preprocessor, "config": config}


_NOT_COMPUTING: Final = frozenset(
    {"_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"}
)
