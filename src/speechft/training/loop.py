"""The one training loop, used by fine-tuning and pre-training alike.

Every source of chance is a pure function of (seed, update): the order of batches through
`BatchStream`, dropout and masks through a generator seeded anew at each update. A run that was
stopped and resumed is therefore the same as one that was not, bit for bit on a CPU.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from speechft.core.errors import DivergedError
from speechft.core.logging import get_logger, progress_bar
from speechft.core.seeding import derive_seed
from speechft.training.precision import Precision, autocast, warn_if_slow
from speechft.training.schedule import Schedule
from speechft.training.state import cut_metrics, load_state, save_state
from speechft.training.stream import BatchStream, EpochBatches, Position, Source

log = get_logger(__name__)

MAX_SKIPPED_IN_A_ROW = 50


class Objective(Protocol):
    """What is trained: a module, and a loss for a batch."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained or saved with the state."""
        ...

    def before_update(self, update: int) -> None:
        """Freeze and unfreeze, set modes; `update` counts from 1."""
        ...

    def loss(self, indices: Sequence[int], items: Any) -> tuple[Tensor, dict[str, float]]:
        """Give the mean loss of a batch and further figures to log."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Give the figures on the dev split (may be empty)."""
        ...


@dataclass(frozen=True)
class LoopSettings:
    """Plain settings of the loop.

    Args:
        steps: optimiser updates N.
        learning_rate: peak rate.
        clip: bound on the global gradient norm.
        accumulate: batches per update.
        evaluate_every: updates between evaluations on dev (0: only at the end).
        save_every: updates between resumable states.
        log_every: updates between records in `metrics.jsonl`.
        seed: the run's seed.
        precision: `auto` takes bf16 on a GPU that has it and float32 elsewhere.
        betas: Adam's moments.
        weight_decay: decoupled weight decay.
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
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0


@dataclass
class Progress:
    """What changes while a run goes on; saved with the state."""

    update: int = 0
    best: float | None = None
    skipped: int = 0


def train(
    objective: Objective,
    batches: EpochBatches,
    source: Source,
    schedule: Schedule,
    settings: LoopSettings,
    folder: Path,
    on_evaluation: Callable[[int, dict[str, float], Progress], None] | None = None,
    on_update: Callable[[int], None] | None = None,
) -> None:
    """Train until `settings.steps` updates are done, resuming from `folder/checkpoints` if it can.

    Args:
        objective: module and loss.
        batches: the order of items.
        source: loads items.
        schedule: learning-rate factor of the update's index (counted from 0).
        settings: plain settings.
        folder: run folder: gets `checkpoints/`, `metrics.jsonl`, TensorBoard events.
        on_evaluation: called with (update, dev figures, progress); may change `progress.best`.
        on_update: called after each update, before anything is saved; counts from 1.

    Raises:
        DivergedError: the loss was not finite for many updates in a row.
    """
    Loop(objective, batches, source, schedule, settings, folder, on_evaluation, on_update).run()


class Loop:
    """State and steps of one run of `train`."""

    def __init__(
        self,
        objective: Objective,
        batches: EpochBatches,
        source: Source,
        schedule: Schedule,
        settings: LoopSettings,
        folder: Path,
        on_evaluation: Callable[[int, dict[str, float], Progress], None] | None,
        on_update: Callable[[int], None] | None = None,
    ) -> None:
        self.objective, self.schedule, self.settings = objective, schedule, settings
        self.folder, self.on_evaluation = folder, on_evaluation
        self.on_update = on_update
        self.accelerator = Accelerator(mixed_precision="no")  # see `autocast`
        warn_if_slow(settings.precision, self.accelerator.device.type)
        objective.module.to(self.accelerator.device)
        self.parameters = list(objective.module.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.progress = Progress()
        position = self._resume()
        world = self.accelerator.num_processes
        rank = self.accelerator.process_index
        self.stream = BatchStream(batches, source, position, rank, world)

    def run(self) -> None:
        """Do the updates that are left."""
        settings, progress = self.settings, self.progress
        if progress.update >= settings.steps:
            return
        writer = self._writer()
        batches = iter(self.stream)
        with progress_bar() as bar:
            line = bar.add_task("train", total=settings.steps, completed=progress.update, note="")
            while progress.update < settings.steps:
                figures = self._update(batches)
                done = progress.update
                if self.on_update is not None:
                    self.on_update(done)
                last = done == settings.steps
                note = f"loss {figures['loss']:.3f} lr {figures['lr']:.1e}"
                bar.update(line, completed=done, note=note)
                if done % settings.log_every == 0 or done == 1 or last:
                    self._record({"update": done, **figures}, writer)
                if last or (settings.evaluate_every and done % settings.evaluate_every == 0):
                    self._evaluate(writer)
                if last or done % settings.save_every == 0:
                    self._save()
        if writer is not None:
            writer.close()

    def _update(self, batches: Any) -> dict[str, float]:
        """Do one optimiser update; skip it, and count that, if its loss is not finite."""
        settings, progress = self.settings, self.progress
        started = time.perf_counter()
        update = progress.update + 1
        seed = derive_seed(settings.seed, "update", update, self.accelerator.process_index)
        torch.manual_seed(seed)
        rate = settings.learning_rate * self.schedule(update - 1)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.objective.before_update(update)
        total = 0.0
        figures: dict[str, float] = {}
        for _ in range(settings.accumulate):
            indices, items = next(batches)
            with autocast(settings.precision, self.accelerator.device.type):
                loss, more = self.objective.loss(indices, items)
            figures |= more
            self.accelerator.backward(loss / settings.accumulate)
            total += float(loss.detach()) / settings.accumulate
        norm = self._step(math.isfinite(total), update)
        progress.update = update
        seconds = time.perf_counter() - started
        return {"loss": total, "lr": rate, "gradient_norm": norm, "seconds": seconds, **figures}

    def _step(self, finite: bool, update: int) -> float:
        moving = [p for p in self.parameters if p.grad is not None]
        if self.accelerator.num_processes > 1:
            for parameter in moving:
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        norm = float(nn.utils.clip_grad_norm_(moving, self.settings.clip)) if moving else 0.0
        if finite and math.isfinite(norm):
            self.optimizer.step()
            self.progress.skipped = 0
        else:
            self._skip(update)
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _skip(self, update: int) -> None:
        self.progress.skipped += 1
        log.warning("update %d skipped: loss or gradient is not finite", update)
        if self.progress.skipped >= MAX_SKIPPED_IN_A_ROW:
            raise DivergedError(
                f"training diverged: {self.progress.skipped} updates in a row were not finite",
                where=self.folder,
                found=f"update {update}, learning rate {self.settings.learning_rate:g}",
                hint="lower the learning rate, or check the data with `speechft data check`",
            )

    def _evaluate(self, writer: Any) -> None:
        figures = self.objective.evaluate()
        if figures:
            self._record({"update": self.progress.update, **_named("dev", figures)}, writer)
        if self.on_evaluation is not None:
            self.on_evaluation(self.progress.update, figures, self.progress)

    def _record(self, record: dict[str, Any], writer: Any) -> None:
        if not self.accelerator.is_main_process:
            return
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "update" and writer is not None:
                writer.add_scalar(name, value, record["update"])

    def _writer(self) -> Any:
        if not self.accelerator.is_main_process:
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(self.folder / "tensorboard", purge_step=self.progress.update + 1)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            state = {
                "module": self.objective.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
                "position": asdict(self.stream.position),
            }
            save_state(self.folder / "checkpoints", state)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> Position:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = load_state(self.folder / "checkpoints")
        metrics = self.folder / "metrics.jsonl"
        if state is None:
            cut_metrics(metrics, 0)
            return Position()
        self.objective.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        cut_metrics(metrics, self.progress.update)
        if self.progress.update < self.settings.steps:
            log.info("resuming at update %d of %d", self.progress.update, self.settings.steps)
        return Position(**state["position"])


def _named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}
