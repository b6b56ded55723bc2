"""The one training loop, used by fine-tuning and pre-training alike.

Every source of chance is a pure function of (seed, update): the order of batches through
`BatchStream`, dropout and masks through a generator seeded anew at each batch. A run that was
stopped and resumed is therefore the same as one that was not, bit for bit on a CPU, and several
processes do what one does with all their batches; whichever number of them resumes, too.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from speechft.core.devices import give_back_holes
from speechft.core.errors import CheckpointError, DivergedError
from speechft.core.logging import get_logger
from speechft.core.progress import progress_bar
from speechft.core.seeding import derive_seed
from speechft.core.stopping import Stopped, StopRequest
from speechft.training.averaging import Average
from speechft.training.batch_stream import BatchStream, EpochBatches, ItemSource, Position
from speechft.training.distributed import (
    all_processes,
    average_gradients,
    least,
    of_all,
    on_main,
)
from speechft.training.logged_metrics import cut_metrics
from speechft.training.micro_batches import MicroBatch, Piece, affordable, cut
from speechft.training.objective import EncoderObjective
from speechft.training.optimisers import MOMENTS, Optimiser, make_optimiser
from speechft.training.pieces import clip_gradients, is_piece
from speechft.training.precision import Precision, autocast
from speechft.training.resume_state import FOLDER, load_state, not_finite, save_state, way_out
from speechft.training.schedule import Schedule
from speechft.training.trackers import Log, Tracker
from speechft.training.trained import Trained

log = get_logger(__name__)

MAX_SKIPPED_IN_A_ROW = 50
_SHOWN = 8  # utterances in a message


@dataclass(frozen=True)
class LoopSettings:
    """Plain settings of the loop.

    Args:
        steps: optimiser updates N.
        learning_rate: peak rate.
        head_learning_rate: peak rate of what is trained besides the encoder; the same if not given.
        clip: bound on the global gradient norm.
        accumulate: batches per update, of all processes together.
        evaluate_every: updates between evaluations on dev (0: only at the end).
        save_every: updates between resumable states at most.
        log_every: updates between records in `metrics.jsonl`.
        seed: the run's seed.
        precision: `auto` takes bf16 on a GPU that has it and float32 elsewhere.
        betas: Adam's moments.
        weight_decay: decoupled weight decay.
        log: where figures are shown beside `metrics.jsonl`.
        micro_batch: seconds of the pieces that a batch is cut into; not at all if none.
        optimiser: `adam`, or with moments in 8 bits `adam-8bit`.
    """

    steps: int
    learning_rate: float
    clip: float = 1.0
    accumulate: int = 1
    evaluate_every: int = 0
    save_every: int = 500
    log_every: int = 20
    seed: int = 0
    precision: Precision = "auto"
    head_learning_rate: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    log: Log = "tensorboard"
    micro_batch: MicroBatch = None
    optimiser: Optimiser = "adam"


@dataclass
class Progress:
    """What changes while a run goes on; saved with the state.

    Attributes:
        update: the last one that was done.
        best: dev figure of the best encoder so far.
        kept: name of an encoder that was kept on the way → its content.
        skipped: updates that were skipped since something was not finite.
        skipped_in_a_row: the same, up to this update.
        last_skipped: what to say of the last one of them.
        waited: evaluations since the best one.
        ended: whether the run has ended before its last update.
        norm: of the last update's gradient.
        usual_norm: its mean over some updates before.
        micro_batch: seconds of the pieces that batches are cut into; 0 while that is open.
        seconds: that updates have taken.
        waiting: seconds of these in which a batch was not loaded yet.
        asked: utterances whose front-end output was asked for.
        served: those of them for which it was kept.
    """

    update: int = 0
    best: float | None = None
    kept: dict[str, str] = field(default_factory=dict)
    skipped: int = 0
    skipped_in_a_row: int = 0
    last_skipped: str = ""
    waited: int = 0
    ended: bool = False
    norm: float = 0.0
    usual_norm: float = 0.0
    micro_batch: float = 0.0
    seconds: float = 0.0
    waiting: float = 0.0
    asked: int = 0
    served: int = 0


@dataclass(frozen=True)
class Hooks:
    """What a run does beside training.

    Attributes:
        on_update: called with the progress after each update, before anything is saved.
        on_evaluation: called with dev figures and the progress, of which it may change `best`,
            `waited` and `ended`.
        on_parent: called where the weights of another run have been taken over.
        on_divergence: called with the progress where training came to nothing, the module as it
            was last when all its weights were finite; not called where that is not known.
        name: gives the name of an utterance by its index, for messages.
        averages: of the weights; they are a part of the state.
        longest: index of the longest utterance, by which memory is measured.
    """

    on_update: Callable[[Progress], None] | None = None
    on_evaluation: Callable[[dict[str, float], Progress], None] | None = None
    on_parent: Callable[[], None] | None = None
    on_divergence: Callable[[Progress], None] | None = None
    name: Callable[[int], str] = str
    averages: tuple[Average, ...] = ()
    longest: int = 0


class Loop:
    """Trains until `settings.steps` updates are done, from `folder/checkpoints` on if it can.

    Args:
        objective: module and loss.
        batches: the order of items.
        source: loads items.
        schedule: learning-rate factor of the update's index (counted from 0).
        settings: plain settings.
        folder: run folder: gets `checkpoints/`, `metrics.jsonl`, and what the tracker writes.
        hooks: what is done on the way.
        parent: folder of another run, whose weights, optimiser and place in the data a new run
            begins with.

    Raises:
        CheckpointError: the state to go on from is damaged, or does not fit.
    """

    def __init__(
        self,
        objective: EncoderObjective,
        batches: EpochBatches,
        source: ItemSource,
        schedule: Schedule,
        settings: LoopSettings,
        folder: Path,
        hooks: Hooks | None = None,
        parent: Path | None = None,
    ) -> None:
        self.objective, self.schedule, self.settings = objective, schedule, settings
        self.folder, self.hooks = folder, hooks or Hooks()
        self.accelerator = Accelerator(mixed_precision="no")  # see `autocast`
        objective.module.to(self.accelerator.device)
        self.parameters = list(objective.module.parameters())
        groups = self._groups()
        self.optimizer = make_optimiser(
            settings.optimiser,
            [apart for group in groups for apart in _pieces_apart(group)],
            settings.learning_rate,
            settings.betas,
            settings.weight_decay,
        )
        order = [parameter for group in groups for parameter in group["params"]]
        self.trained = Trained(objective.module, self.optimizer, order, self.hooks.averages)
        self.progress = Progress()
        self.stop = StopRequest()
        position = self._resume(parent)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.accumulate = settings.accumulate // self.world
        self.stream = BatchStream(batches, source, position, self.rank, self.world)

    def _groups(self) -> list[dict[str, Any]]:
        """Give all parameters; heads apart where they have a rate of their own."""
        settings, rate = self.settings, self.settings.head_learning_rate
        if rate is None:
            return [{"params": self.parameters}]
        named = list(self.objective.module.named_parameters())
        parts = [[p for n, p in named if n.startswith("encoder.") == own] for own in (True, False)]
        factors = (1.0, rate / settings.learning_rate)
        return [{"params": p, "factor": f} for p, f in zip(parts, factors, strict=True)]

    def run(self) -> Progress:
        """Do the updates that are left.

        Returns:
            Where the run stands at its end.

        Raises:
            DivergedError: updates were skipped since they were not finite, too many in a row or
                most of all, or weights are not finite.
            Stopped: Ctrl-C or SIGTERM; the state of this moment has been saved.
        """
        try:
            if self._is_left():
                tracker = self._tracker()
                with self.stop, progress_bar() as bar:
                    self._go_on(tracker, bar)
                tracker.close()
            skipped, done = self.progress.skipped, self.progress.update
            if 2 * skipped > done:
                raise self._diverged(f"{skipped} of {done} updates were")
        except DivergedError:
            self._keep_last_good()
            raise
        return self.progress

    def _is_left(self) -> bool:
        return self.progress.update < self.settings.steps and not self.progress.ended

    def _keep_last_good(self) -> None:
        """Give away the module as it is, or as it was saved last, if its weights are finite."""
        if self.hooks.on_divergence is None:
            return
        module = self.objective.module
        if _spoilt(module):
            state = load_state(self.folder / FOLDER)
            if state is None:
                return
            self._take_weights(state, self.folder)
        self.hooks.on_divergence(self.progress)

    def _go_on(self, tracker: Tracker, bar: Any) -> None:
        settings, progress = self.settings, self.progress
        self._choose_micro_batch()
        batches = iter(self.stream)
        line = bar.add_task("train", total=settings.steps, completed=progress.update, note="")
        while self._is_left():
            there = dict(progress.kept)
            figures, signal_number = self._update(batches)
            done = progress.update
            last = done == settings.steps
            if self.hooks.on_update is not None:
                self.hooks.on_update(progress)
            note = f"loss {figures['loss']:.3f} lr {figures['lr']:.1e}"
            bar.update(line, completed=done, note=note)
            if self._is_logged(done):
                self._record({"update": done, **figures}, tracker)
            if last or (settings.evaluate_every and done % settings.evaluate_every == 0):
                self._evaluate(tracker)
            # A run that goes on from before an encoder was kept may not keep it again: on a GPU
            # its figures may differ in their last bits.
            due = done % settings.save_every == 0 or progress.kept != there
            if due or not self._is_left() or signal_number:
                self._save()
            if signal_number:
                kept = f"The state after update {done} of {settings.steps} is kept in {self.folder}"
                raise Stopped(kept, signal_number)

    def _is_logged(self, update: int) -> bool:
        return update % self.settings.log_every == 0 or update in (1, self.settings.steps)

    def _update(self, batches: Any) -> tuple[dict[str, float], int]:
        """Do one optimiser update; give its figures, and the number of a signal that came.

        All processes see the same loss and gradients, so that all of them skip it or none.
        """
        settings, progress = self.settings, self.progress
        started, waited = time.perf_counter(), self.stream.waited
        update = progress.update + 1
        rate = settings.learning_rate * self.schedule(update - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        self.objective.before_update(update)
        total = 0.0
        figures: dict[int, dict[str, float]] = {}
        heard: list[int] = []
        for number in range(self.accumulate):
            indices, items = next(batches)
            heard += indices
            place = number * self.world + self.rank
            of_batch: dict[str, float] = {}
            for at, piece in enumerate(self._pieces(indices, items)):
                further = (at,) if at else ()
                torch.manual_seed(derive_seed(settings.seed, "update", update, place, *further))
                with autocast(settings.precision, self.accelerator.device):
                    loss, more = self.objective.loss(piece.indices, piece.items)
                for name, value in more.items():
                    of_batch[name] = of_batch.get(name, 0.0) + piece.share * value
                give_back_holes(self.accelerator.device)
                torch.autograd.backward(loss * piece.share / self.accumulate)
                total += float(loss.detach()) * piece.share / self.accumulate
            figures[place] = of_batch
        stop = self.stop.signal_number
        total, stopping = average_gradients(self.parameters, [total, float(stop > 0)])
        norm = self._step(total, update, heard)
        progress.update = update
        for average in self.hooks.averages:
            average.take(self.objective.module, update)
        seconds = time.perf_counter() - started
        progress.seconds += seconds
        progress.waiting += self.stream.waited - waited
        done = {"loss": total, "lr": rate, "gradient_norm": norm, "seconds": seconds}
        for more in of_all(figures).values() if self._is_logged(update) else ():
            done |= more
        return done, (stop or signal.SIGTERM) if stopping else 0

    def _pieces(self, indices: list[int], items: Any) -> list[Piece]:
        if self.settings.micro_batch is None:
            return [Piece(indices, items, 1.0)]
        pieces = cut(self.objective, indices, items, self.progress.micro_batch)
        if self.trained.in_pieces:  # all processes gather each layer together, as often as any
            more = -int(least(-float(len(pieces)))) - len(pieces)
            pieces += [pieces[0]._replace(share=0.0)] * more
        return pieces

    def _choose_micro_batch(self) -> None:
        """Fix how large pieces are, once for the whole run, also where it goes on elsewhere."""
        settings, wanted = self.settings, self.settings.micro_batch
        if wanted is None or self.progress.micro_batch:
            return
        if wanted == "auto":
            moments = MOMENTS[settings.optimiser]
            given = self.hooks.longest, self.stream.source.load([self.hooks.longest])
            averages = len(self.hooks.averages)
            with autocast(settings.precision, self.accelerator.device):
                wanted = affordable(self.objective, *given, settings.steps, moments, averages)
        self.progress.micro_batch = least(wanted)

    def _step(self, loss: float, update: int, heard: list[int]) -> float:
        """Move the weights unless something is not finite; give the gradient's norm."""
        norm = clip_gradients(self.parameters, self.settings.clip)
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
            self.progress.skipped_in_a_row = 0
        else:
            self._skip(update, heard)
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.norm = norm
        return norm

    def _skip(self, update: int, heard: list[int]) -> None:
        progress = self.progress
        names = [self.hooks.name(index) for index in heard]
        shown = ", ".join([*names[:_SHOWN], "…"] if len(names) > _SHOWN else names)
        progress.skipped += 1
        progress.skipped_in_a_row += 1
        progress.last_skipped = f"update {update}, of the utterances {shown}"
        log.warning("skipped, as loss or gradient is not finite: %s", progress.last_skipped)
        if progress.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise self._diverged(f"{progress.skipped_in_a_row} updates in a row were")

    def _diverged(self, what: str) -> DivergedError:
        rate, at_once = self.settings.learning_rate, not self.optimizer.state
        advice = "lower the learning rate, or check the data with `speechft data check`"
        if at_once:  # no rate can do that
            advice = "the encoder itself gives this, or the data: see `speechft check encoder` and "
            advice += "`speechft data check`"
        return DivergedError(
            f"training diverged: {what} skipped, as loss or gradient was not finite",
            where=self.folder,
            found=f"last {self.progress.last_skipped}; learning rate {rate:g}",
            hint=f"{advice}; to begin anew remove {self.folder}",
        )

    def _evaluate(self, tracker: Tracker) -> None:
        own = self.objective.evaluate()
        figures = on_main(lambda: own)  # a GPU's last bits may differ; what follows may not
        if figures:
            named = {f"dev_{name}": value for name, value in figures.items()}
            self._record({"update": self.progress.update, **named}, tracker)
        if self.hooks.on_evaluation is not None:
            self.hooks.on_evaluation(figures, self.progress)

    def _record(self, record: dict[str, Any], tracker: Tracker) -> None:
        if not self.accelerator.is_main_process:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        figures = {name: value for name, value in record.items() if name != "update"}
        tracker.log(figures, record["update"])

    def _tracker(self) -> Tracker:
        log = self.settings.log if self.accelerator.is_main_process else "none"
        return Tracker(log, self.folder, self.progress.update)

    def _save(self) -> None:
        check_finite(self.objective.module, self.progress, self.folder)
        states, update = self.folder / FOLDER, self.progress.update
        state = {
            **self.trained.to_state(states, update),
            "optimiser": self.settings.optimiser,
            "progress": asdict(self.progress),
            "position": asdict(self.stream.position),
        }
        if self.accelerator.is_main_process:
            save_state(states, update, state)
        self.accelerator.wait_for_everyone()

    def _resume(self, parent: Path | None) -> Position:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = load_state(self.folder / FOLDER)
        if state is not None:
            state = self._take_weights(state, self.folder)
            self.trained.take_moments(state)
            self.trained.take_averages(state)
            self.progress = self._progress_of(state)
        if self.accelerator.is_main_process:
            cut_metrics(self.folder / "metrics.jsonl", self.progress.update)
        if state is not None and self._is_left():
            log.info("resuming at update %d of %d", self.progress.update, self.settings.steps)
        if state is None and parent is not None:
            state = self._begin_with(parent)
        return Position() if state is None else Position(**state["position"])

    def _progress_of(self, state: dict[str, Any]) -> Progress:
        found = state["progress"]
        strange = sorted(set(found) - {one.name for one in fields(Progress)})
        if strange:
            raise CheckpointError(
                "the state of the run was written by another version of speechft",
                where=self.folder / FOLDER,
                found=", ".join(strange),
                hint=f"go on with that version, or {way_out(self.folder / FOLDER)}",
            )
        return Progress(**found)

    def _begin_with(self, parent: Path) -> dict[str, Any] | None:
        """Take over weights and the optimiser's moments; the rates are this run's own."""
        state = load_state(parent / FOLDER)
        if state is not None:
            try:
                state = self._take_weights(state, parent)
            except RuntimeError as error:
                raise CheckpointError(
                    "the state of the other run does not fit this one",
                    where=parent,
                    expected="the same encoder, tasks, classes and method",
                    found=str(error).splitlines()[1].strip(),
                ) from None
            if self.hooks.on_parent is not None:
                self.hooks.on_parent()
            found, wanted = state.get("optimiser", "adam"), self.settings.optimiser
            if found != wanted:
                raise CheckpointError(
                    "the optimiser of the other run is another one",
                    where=parent,
                    expected=wanted,
                    found=found,
                    hint=f"give optimiser={found}, or the other run's encoder as --encoder",
                )
            self.trained.take_moments(state)
        return state

    def _take_weights(self, state: dict[str, Any], run: Path) -> dict[str, Any]:
        return self.trained.take_weights(state, run / FOLDER, state["progress"]["update"])


def _pieces_apart(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a group of parameters as two, as no operation takes pieces and whole ones together."""
    kinds = [[p for p in group["params"] if is_piece(p) == apart] for apart in (False, True)]
    return [{**group, "params": kind} for kind in kinds if kind]


def check_finite(module: nn.Module, progress: Progress, folder: Path) -> None:
    """Refuse to keep weights that are not finite.

    Raises:
        DivergedError: names them, and the update.
    """
    spoilt = _spoilt(module)
    if spoilt:
        raise DivergedError(
            f"training diverged: weights are not finite after update {progress.update}",
            where=folder,
            found=", ".join(spoilt[:4]),
            hint="lower the learning rate; what was kept before is as it was",
        )


def _spoilt(module: nn.Module) -> list[str]:
    """Name the tensors that are not finite in any process, in all of them."""
    here = all_processes().process_index
    found = of_all({here: not_finite(module.state_dict())})
    return list(dict.fromkeys(name for names in found.values() for name in names))
