"""One encoder on its tasks and seeds: hidden states once, then every cell that is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any, Final

from lhotse.cut import Cut

from speechft.core.devices import computing_threads, note_device
from speechft.core.errors import SettingsError
from speechft.core.locks import wait_for_lock
from speechft.core.logging import get_logger
from speechft.data.cuts import heard_seconds
from speechft.encoders import SpeechEncoder
from speechft.hidden.dataset_states import HiddenStore, Request
from speechft.hidden.front_end_cache import FrontEndCache, KeptFeatures
from speechft.hidden.states import Passes, SplitStates
from speechft.probing.cells import CELLS, Cell, make_cell, run_cell
from speechft.probing.failed_jobs import Failure, reported
from speechft.probing.inputs import DataSet, fold_numbers, open_encoder
from speechft.probing.protocol import protocol_of
from speechft.probing.settings import EncoderSpec, EvaluateSettings, data_name
from speechft.tasks import TASKS

LOCKS: Final = ".locks"
THREADS: Final = 1  # a figure does not depend on how many processes or threads there are
_logger = get_logger(__name__)
TaskSeed = tuple[str, int]
"""A job of an encoder: a task and a seed."""


@dataclass
class Outcome:
    """What came of an encoder's jobs.

    Attributes:
        keys: of its finished cells, in the order of tasks and seeds.
        failures: of the others.
        passes: how many utterances the encoder read, and how long their audio is.
        seconds: that encoding took.
    """

    keys: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0


def _nothing(*_: object) -> None:
    """Where nobody wants to be told."""


class Evaluator:
    """Probes one encoder after the other, with what one process keeps between them.

    Args:
        settings: of the evaluation.
        data: every DATA with the tasks that read it.
        device: "cpu", "cuda" or "cuda:N".
        kept: front-end features of other evaluations in this process; None: its own ones.
        note: shows a few words on what is going on.
    """

    def __init__(
        self,
        settings: EvaluateSettings,
        data: list[DataSet],
        device: str = "cpu",
        kept: KeptFeatures | None = None,
        note: Callable[[str], None] = _nothing,
    ) -> None:
        self.settings, self.data, self.device, self.note = settings, data, device, note
        self.cells_folder = settings.out / CELLS
        if kept is None or not settings.cache_gb:
            shared = settings.cache_gb if len(settings.encoders) > 1 else 0
            kept = KeptFeatures(int(shared * 2**30))
        self._kept = kept
        # Once, whatever the number of encoders and seeds.
        self.say = cache(_logger.info)
        self._label_error = cache(lambda data, task: data.label_error(task, settings.protocol))

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

    def jobs_of(
        self, spec: EncoderSpec, tasks: Sequence[str] | None = None, seeds: Any = None
    ) -> list[TaskSeed]:
        """Give tasks and seeds of an encoder, all or only some."""
        wanted = [t for t in self.settings.tasks_of(spec) if tasks is None or t in tasks]
        chosen = [s for s in self.settings.seeds if seeds is None or s in seeds]
        return list(product(wanted, chosen))

    def cells(self, encoder: SpeechEncoder, jobs: Sequence[TaskSeed]) -> dict[TaskSeed, Cell]:
        """Give the cells of an encoder."""
        ids = encoder.content_id(), encoder.fingerprint()
        of = {task: data for data in self.data for task in data.names}
        return {
            job: make_cell(*ids, *job, of[job[0]].ids_of(job[0]), self.settings) for job in jobs
        }

    def is_done(self, cell: Cell) -> bool:
        """Tell whether a cell's result is there."""
        return cell.artifact(self.cells_folder / cell.key).done

    def run(
        self,
        spec: EncoderSpec,
        on_cell: Callable[[], None] = _nothing,
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
        note_device(self.device)
        with computing_threads(THREADS):
            return _Run(self, spec, on_cell).finish(self.jobs_of(spec, tasks, seeds))


class _Run:
    """An encoder's way through its jobs."""

    def __init__(
        self, evaluator: Evaluator, spec: EncoderSpec, on_cell: Callable[[], None]
    ) -> None:
        self.evaluator, self.spec, self.on_cell = evaluator, spec, on_cell
        self.settings, self.outcome = evaluator.settings, Outcome()

    def finish(self, jobs: list[TaskSeed]) -> Outcome:
        """Run what is missing of some jobs."""
        outcome, passes = self.outcome, self.outcome.passes
        try:
            self.encoder = open_encoder(self.spec, self.evaluator.device, self.settings.context)
            protocol_of(self.settings.protocol).prepare(self.encoder)
            self.cells = self.evaluator.cells(self.encoder, self.evaluator.jobs_of(self.spec))
        except Exception as error:
            self._fail(error, [()])
            return outcome
        passes.on_batch = lambda: self._note(f"{passes.audio_seconds / 60:.1f} min of audio read")
        for data, own in self._ready(jobs):
            self._probe(data, [job for job in own if not self.evaluator.is_done(self.cells[job])])
        passes.on_batch = None
        failed = {(f.task, f.seed) for f in outcome.failures}
        outcome.keys = [self.cells[job].key for job in jobs if job not in failed]
        return outcome

    def _ready(self, jobs: list[TaskSeed]) -> list[tuple[DataSet, list[TaskSeed]]]:
        """Give the missing jobs of each data set; what cannot be done fails before any work."""
        ready: list[tuple[DataSet, list[TaskSeed]]] = []
        for data in self.evaluator.data:
            missing: list[TaskSeed] = []
            for job in [job for job in jobs if job[0] in data.names]:
                if self.evaluator.is_done(self.cells[job]):
                    continue
                error = self.evaluator._label_error(data, job[0])
                if error is None:
                    missing.append(job)
                else:
                    self._fail(error, [job])
            if missing:
                ready.append((data, missing))
        wanted = [(data, [task for task, _ in own]) for data, own in ready]
        refused = find_refused(self.settings, self.encoder, wanted, self.evaluator.say)
        for data, own in ready:
            if data.spec in refused:
                self._fail(refused[data.spec], own)
        return [(data, own) for data, own in ready if data.spec not in refused]

    def _probe(self, data: DataSet, jobs: list[TaskSeed]) -> None:
        """Run the jobs of one data set, with whoever else runs some of them."""
        if not jobs:
            return
        outcome, begin = self.outcome, time.perf_counter()
        try:
            states = self._states(data, jobs)
        except Exception as error:
            self._fail(error, jobs)
            return
        finally:
            outcome.seconds += time.perf_counter() - begin
        _logger.info(
            "evaluate: %s read %d utterances, %.2f h of audio, in %.1f s",
            self.spec.label,
            outcome.passes.utterances,
            outcome.passes.audio_seconds / 3600,
            outcome.seconds,
        )
        self._note("probing")
        for job in jobs:
            cell, names = self.cells[job], data.names[job[0]]
            with wait_for_lock(self.settings.out / LOCKS / cell.key):
                if self.evaluator.is_done(cell):
                    continue
                cuts = [data.splits[name] for name in names]
                folder, device = self.evaluator.cells_folder, self.evaluator.device
                try:
                    own, numbers = [states[name] for name in names], fold_numbers(names)
                    run_cell(cell, cuts, own, folder, device, self.encoder.hop, numbers)
                except Exception as error:
                    self._fail(error, [job])
                self.on_cell()

    def _states(self, data: DataSet, jobs: list[TaskSeed]) -> dict[str, SplitStates]:
        """Give the hidden states that jobs on one data set read; each audio is encoded once."""
        cuts: dict[str, Cut] = {}
        for name, split in data.splits.items():
            cuts = dict(zip(data.audio[name], split, strict=True)) | cuts
        keys = list(cuts)
        index = {key: i for i, key in enumerate(keys)}
        source = FrontEndCache(self.encoder, list(cuts.values()), 0, self.evaluator._kept, keys)
        items = {name: [index[key] for key in own] for name, own in data.audio.items()}
        tasks = [task for task, _ in jobs]
        others = [
            task
            for (task, seed), cell in self.cells.items()
            if task in data.names and (task, seed) not in jobs and not self.evaluator.is_done(cell)
        ]
        framed = data.framed(others).items()
        also_framed = {i for name, frames in framed if frames for i in items[name]}
        store, outcome = store_of(self.settings), self.outcome

        def open_(
            encoder: SpeechEncoder, requests: Mapping[str, Request], encoder_id: str
        ) -> dict[str, SplitStates]:
            further = also_framed if encoder is self.encoder else ()  # a view has other frames
            return store.open(encoder, source, requests, encoder_id, outcome.passes, further)

        requests = {name: Request(items[name], f) for name, f in data.framed(tasks).items()}
        pooled = {name for task in tasks if TASKS[task].pooled for name in data.names[task]}
        identity = self.cells[jobs[0]].encoder
        protocol = protocol_of(self.settings.protocol)
        return protocol.open_states(open_, self.encoder, requests, pooled, identity)

    def _fail(self, error: Exception, jobs: Iterable[TaskSeed | tuple[()]]) -> None:
        self.outcome.failures += [reported(error, self.spec.label, *job) for job in jobs]

    def _note(self, text: str) -> None:
        self.evaluator.note(f"{self.spec.label}: {text}")


def store_of(settings: EvaluateSettings) -> HiddenStore:
    """Give the store that an evaluation's settings describe."""
    return HiddenStore(
        dtype=settings.frame_dtype,
        limit_gb=settings.store_gb,
        batch_seconds=settings.batch_seconds,
        folder=settings.store,
        keep=settings.keep,
        precision=settings.precision,
    )


def find_refused(
    settings: EvaluateSettings,
    encoder: SpeechEncoder,
    wanted: Sequence[tuple[DataSet, Collection[str]]],
    say: Callable[[str], object] = _logger.info,
) -> dict[str, SettingsError]:
    """Say how much room the hidden states of all data need; give the DATA that have none, and why.

    Args:
        settings: of the evaluation.
        encoder: the encoder.
        wanted: each data set, and the tasks that read it.
        say: told how much room each data set needs.
    """
    protocol = protocol_of(settings.protocol)
    error = protocol.find_error(encoder)
    if error is not None:
        return {data.spec: error for data, _ in wanted}
    names = settings.data_names()
    needs: dict[str, tuple[int, float]] = {}
    specs: dict[str, str] = {}
    for data, tasks in wanted:
        seconds: dict[str, float] = {}  # of each audio that is needed, 0 where its means are enough
        for split, frames in data.framed(tasks).items():
            for cut, key in zip(data.splits[split], data.audio[split], strict=True):
                seconds[key] = heard_seconds(cut) if frames else seconds.get(key, 0.0)
        name = names[next(iter(data.names))]
        label = name if name not in needs else data.spec
        specs[label] = data.spec
        needs[label] = len(seconds) * protocol.means_per_utterance, sum(seconds.values())
    refused = store_of(settings).check_sizes(encoder, needs, say)
    return {specs[label]: error for label, error in refused.items()}
