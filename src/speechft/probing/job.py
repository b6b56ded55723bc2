"""One encoder on its tasks and seeds: hidden states once, then every cell that is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from lhotse.cut import Cut

from speechft.core.devices import computing_threads
from speechft.core.locks import wait_for_lock
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.hidden.encoding import Passes, Utterances
from speechft.hidden.front_end import FrontEndCache, KeptFeatures
from speechft.hidden.states import SplitStates
from speechft.hidden.store import HiddenStore, Request
from speechft.probing.cells import Cell, EncoderIds, make_cell, run_cell
from speechft.probing.checking import Labels, find_refused, framed_splits, make_store
from speechft.probing.data import DataSet
from speechft.probing.encoders import open_encoder
from speechft.probing.outcome import Outcome, reported
from speechft.probing.protocols import PROTOCOLS
from speechft.probing.settings import EncoderSpec, EvaluateSettings, data_name
from speechft.tasks import TASKS

LOCKS: Final = ".locks"
THREADS: Final = 1  # a figure does not depend on how many processes or threads there are
_logger = get_logger(__name__)
TaskSeed = tuple[str, int]
"""A job of an encoder: a task and a seed."""


@dataclass
class Evaluator:
    """Probes one encoder after the other, with what one process keeps between them.

    Attributes:
        settings: of the evaluation.
        data: every DATA with the tasks that read it.
        device: "cpu", "cuda" or "cuda:N".
        note: shows a few words on what is going on.
        kept: front-end features of other evaluations in this process; None: its own ones.
    """

    settings: EvaluateSettings
    data: list[DataSet]
    device: str = "cpu"
    note: Callable[[str], None] | None = None
    kept: InitVar[KeptFeatures | None] = None
    _kept: KeptFeatures = field(init=False)
    _labels: Labels = field(init=False)

    def __post_init__(self, kept: KeptFeatures | None) -> None:
        self._labels = Labels(self.settings.protocol)
        if kept is None or not self.settings.cache_gb:
            shared = self.settings.cache_gb if len(self.settings.encoders) > 1 else 0
            kept = KeptFeatures(int(shared * 2**30))
        self._kept = kept

    @property
    def cells_folder(self) -> Path:
        """Where finished cells lie."""
        return self.settings.out / "cells"

    @property
    def seconds(self) -> float:
        """Length of all audio."""
        splits = [cuts for data in self.data for cuts in data.splits.values()]
        return sum(float(cut.duration) for cuts in splits for cut in cuts)

    @property
    def data_ids(self) -> dict[str, str]:
        """The identity of every split."""
        if len(self.data) == 1:
            return self.data[0].ids
        names = [data_name(data.spec) for data in self.data]
        names = names if len(set(names)) == len(names) else [data.spec for data in self.data]
        return {
            f"{name}/{split}": value
            for name, data in zip(names, self.data, strict=True)
            for split, value in data.ids.items()
        }

    def run(
        self,
        spec: EncoderSpec,
        on_cell: Callable[[], None] | None = None,
        tasks: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Outcome:
        """Finish the cells of an encoder; one that fails does not stop the others.

        Args:
            spec: the encoder.
            on_cell: called after each cell that was run.
            tasks: only these.
            seeds: only these.
        """
        with computing_threads(THREADS):
            return self._run(spec, on_cell, self.jobs_of(spec, tasks, seeds))

    def _run(
        self, spec: EncoderSpec, on_cell: Callable[[], None] | None, jobs: list[TaskSeed]
    ) -> Outcome:
        outcome = Outcome(passes=Passes(on_batch=lambda: self._show(spec, outcome)))
        try:
            encoder = open_encoder(spec, self.device)
            ids = EncoderIds.of(encoder)
        except Exception as error:
            outcome.failures.append(reported(error, spec.label))
            return outcome
        cells = self.cells(ids, jobs)
        for data, own in self._ready(spec, encoder, cells, outcome):
            self._finish(spec, encoder, data, own, outcome, on_cell)
        failed = {(f.task, f.seed) for f in outcome.failures}
        outcome.keys = [cells[job].key for job in jobs if job not in failed]
        return outcome

    def jobs_of(
        self, spec: EncoderSpec, tasks: Sequence[str] | None = None, seeds: Any = None
    ) -> list[TaskSeed]:
        """Give tasks and seeds of an encoder, all or only some."""
        wanted = [t for t in self.settings.tasks_of(spec) if tasks is None or t in tasks]
        chosen = [s for s in self.settings.seeds if seeds is None or s in seeds]
        return list(product(wanted, chosen))

    def cells(self, encoder: EncoderIds, jobs: Sequence[TaskSeed]) -> dict[TaskSeed, Cell]:
        """Give the cells of an encoder."""
        of = {task: data for data in self.data for task in data.names}
        return {
            (task, seed): make_cell(encoder, task, seed, of[task].ids_of(task), self.settings)
            for task, seed in jobs
        }

    def is_done(self, cell: Cell) -> bool:
        """Tell whether a cell's result is there."""
        return cell.artifact(self.cells_folder).done

    def _ready(
        self,
        spec: EncoderSpec,
        encoder: SpeechEncoder,
        cells: dict[TaskSeed, Cell],
        outcome: Outcome,
    ) -> list[tuple[DataSet, dict[TaskSeed, Cell]]]:
        """Give the missing cells of each data set; what cannot be done fails before any work."""
        ready: list[tuple[DataSet, dict[TaskSeed, Cell]]] = []
        for data in self.data:
            missing: dict[TaskSeed, Cell] = {}
            for job, cell in cells.items():
                if cell.task not in data.names or self.is_done(cell):
                    continue
                error = self._labels.find_error(data, cell.task)
                if error is None:
                    missing[job] = cell
                else:
                    outcome.failures.append(reported(error, spec.label, *job))
            if missing:
                ready.append((data, missing))
        wanted = [(data, self._needs(data, list(own.values()))) for data, own in ready]
        refused = find_refused(self._store(), encoder, wanted, self.settings)
        for data, own in ready:
            if data.spec in refused:
                error = refused[data.spec]
                outcome.failures += [reported(error, spec.label, *job) for job in own]
        return [(data, own) for data, own in ready if data.spec not in refused]

    def _finish(
        self,
        spec: EncoderSpec,
        encoder: SpeechEncoder,
        data: DataSet,
        cells: dict[TaskSeed, Cell],
        outcome: Outcome,
        on_cell: Callable[[], None] | None,
    ) -> None:
        """Run the cells of one data set that are missing, with whoever else runs some of them."""
        missing = {job: cell for job, cell in cells.items() if not self.is_done(cell)}
        if not missing:
            return
        begin = time.perf_counter()
        try:
            states = self._states(spec, encoder, data, list(missing.values()), outcome.passes)
        except Exception as error:
            found = [reported(error, spec.label, *job) for job in missing]
            outcome.failures += found
            return
        finally:
            outcome.seconds += time.perf_counter() - begin
        _logger.info(
            "evaluate: %s read %d utterances, %.2f h of audio, in %.1f s",
            spec.label,
            outcome.passes.utterances,
            outcome.passes.audio_seconds / 3600,
            outcome.seconds,
        )
        if self.note is not None:
            self.note(f"{spec.label}: probing")
        for job, cell in missing.items():
            with wait_for_lock(self.settings.out / LOCKS / cell.key):
                if not self.is_done(cell):
                    try:
                        self._run_cell(cell, data, states)
                    except Exception as error:
                        outcome.failures.append(reported(error, spec.label, *job))
                    if on_cell is not None:
                        on_cell()

    def _run_cell(self, cell: Cell, data: DataSet, states: dict[str, SplitStates]) -> None:
        names = data.names[cell.task]
        cuts: list[list[Cut]] = [data.splits[name] for name in names]
        run_cell(cell, cuts, [states[name] for name in names], self.cells_folder, self.device)

    def _show(self, spec: EncoderSpec, outcome: Outcome) -> None:
        if self.note is not None:
            self.note(f"{spec.label}: {outcome.passes.audio_seconds / 60:.1f} min of audio read")

    def _needs(self, data: DataSet, cells: Sequence[Cell]) -> dict[str, bool]:
        """Give the splits that cells read, and whether they need frames."""
        return framed_splits(data, [cell.task for cell in cells])

    def _framed_by_others(
        self, spec: EncoderSpec, data: DataSet, cells: Sequence[Cell]
    ) -> list[str]:
        """Give the splits whose frames cells of this encoder and data need that others may run."""
        jobs = [job for job in self.jobs_of(spec) if job[0] in data.names]
        own = {cell.key for cell in cells}
        every = self.cells(cells[0].encoder, jobs).values()
        left = [cell for cell in every if cell.key not in own and not self.is_done(cell)]
        return [name for name, frames in self._needs(data, left).items() if frames]

    def _states(
        self,
        spec: EncoderSpec,
        encoder: SpeechEncoder,
        data: DataSet,
        cells: list[Cell],
        passes: Passes,
    ) -> dict[str, SplitStates]:
        cuts: dict[str, Cut] = {}
        for name, own in data.splits.items():
            cuts = dict(zip(data.audio[name], own, strict=True)) | cuts
        keys = list(cuts)
        source = FrontEndCache(encoder, list(cuts.values()), 0, self._kept, keys)
        utterances, index = Utterances(source, keys), {key: i for i, key in enumerate(keys)}
        items = {name: [index[key] for key in own] for name, own in data.audio.items()}
        requests = {n: Request(items[n], frames) for n, frames in self._needs(data, cells).items()}
        pooled = {n for c in cells if TASKS[c.task].pooled for n in data.names[c.task]}
        others = {i for name in self._framed_by_others(spec, data, cells) for i in items[name]}
        return PROTOCOLS[self.settings.protocol].open_states(
            self._store(),
            encoder,
            utterances,
            requests,
            pooled,
            cells[0].encoder.content,
            passes,
            others,
        )

    def _store(self) -> HiddenStore:
        return make_store(self.settings)
