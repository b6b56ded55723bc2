"""One encoder on all its tasks and seeds: hidden states once, then every cell that is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lhotse.cut import Cut

from speechft.core.files import hash_json
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.stages.evaluation.cells import Cell, make_cell, run_cell
from speechft.stages.evaluation.data import Splits
from speechft.stages.evaluation.encoders import open_encoder
from speechft.stages.evaluation.settings import EncoderSpec, EvaluateSettings
from speechft.stages.hidden_store import HiddenStore, SplitStates
from speechft.tasks import TASKS
from speechft.training.front_end_cache import FrontEndCache

_logger = get_logger(__name__)


@dataclass
class Workplace:
    """What one process keeps between encoders.

    Attributes:
        settings: of the evaluation.
        splits: the cuts of every split.
        names: task → its train, dev and test splits.
        hashes: of every split.
        device: "cpu" or "cuda".
    """

    settings: EvaluateSettings
    splits: Splits
    names: dict[str, tuple[str, str, str]]
    hashes: dict[str, str]
    device: str = "cpu"
    _front_end: str = field(default="", init=False)
    _cache: FrontEndCache | None = field(default=None, init=False)

    @property
    def cells_folder(self) -> Path:
        """Where finished cells lie."""
        return self.settings.out / "cells"

    def run(self, spec: EncoderSpec, on_cell: Callable[[], None] | None = None) -> list[str]:
        """Finish all cells of an encoder.

        Returns:
            The keys of its cells, in the order of tasks and seeds.
        """
        encoder = open_encoder(spec, self.device)
        fingerprint = encoder.fingerprint()
        cells = [
            make_cell(fingerprint, task, seed, self._hashes_of(task), self.settings)
            for task in self.settings.tasks_of(spec)
            for seed in self.settings.seeds
        ]
        missing = [c for c in cells if not (self.cells_folder / c.key / "cell.json").is_file()]
        if missing:
            states = self._states(encoder, fingerprint, missing)
            for cell in missing:
                names = self.names[cell.task]
                cuts = [self.splits[name] for name in names]
                views = [states[name] for name in names]
                run_cell(cell, cuts, views, self.cells_folder, self.device)
                if on_cell is not None:
                    on_cell()
        return [cell.key for cell in cells]

    def _hashes_of(self, task: str) -> dict[str, str]:
        parts = zip(("train", "dev", "test"), self.names[task], strict=True)
        return {part: self.hashes[name] for part, name in parts}

    def _states(
        self, encoder: SpeechEncoder, fingerprint: str, cells: list[Cell]
    ) -> dict[str, SplitStates]:
        settings = self.settings
        framed: dict[str, bool] = {}
        for cell in cells:
            for name in self.names[cell.task]:
                framed[name] = framed.get(name, False) or not TASKS[cell.task].pooled
        store = HiddenStore(
            settings.frame_dtype, settings.store_gb, settings.batch_seconds, settings.store
        )
        seconds = {name: sum(cut.duration for cut in self.splits[name]) for name in framed}
        store.check_size(encoder, sum(seconds[name] for name, frames in framed.items() if frames))
        source, first = self._source(encoder)
        return {
            name: store.split(
                encoder,
                source,
                range(first[name], first[name] + len(self.splits[name])),
                frames=frames,
                data_hash=self.hashes[name],
                encoder_hash=fingerprint,
            )
            for name, frames in framed.items()
        }

    def _source(self, encoder: SpeechEncoder) -> tuple[FrontEndCache, dict[str, int]]:
        """Give front-end features by index; they are kept while the front end stays the same."""
        first: dict[str, int] = {}
        cuts: list[Cut] = []
        for name, members in self.splits.items():
            first[name] = len(cuts)
            cuts += members
        front_end = _front_end_hash(encoder)
        if self._cache is None or front_end != self._front_end:
            shared = len(self.settings.encoders) > 1
            limit = int(self.settings.cache_gb * 2**30) if shared else 0
            self._cache, self._front_end = FrontEndCache(encoder, cuts, limit), front_end
        self._cache.encoder = encoder
        return self._cache, first


def _front_end_hash(encoder: SpeechEncoder) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(encoder.front_end_parameters().items()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().numpy().tobytes())
    shape = [encoder.family, encoder.preprocessor, getattr(encoder.config, "conv_stride", None)]
    return digest.hexdigest() + hash_json(shape)
