"""Which encoders a fine-tuning keeps: the last one, the best one on dev, and early ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

from accelerate import PartialState

from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.metrics.directions import better, direction
from speechft.tasks import Task
from speechft.training.adapters import merge_adapters
from speechft.training.loop import Progress
from speechft.training.schedule import share_of

LAST, BEST = "encoder", "encoder-best"
log = get_logger(__name__)


class Keeper:
    """Writes encoders into a run's folder, adapters folded in.

    Args:
        out: the run's folder.
        encoder: the encoder that is trained.
        tasks: name → task; one task goes without its name in the figures.
        adapted: whether the encoder carries adapters.
        steps: updates of the run.
        shares: of the updates, after which an early encoder is kept.
    """

    def __init__(
        self,
        out: Path,
        encoder: SpeechEncoder,
        tasks: Mapping[str, Task],
        *,
        adapted: bool,
        steps: int,
        shares: tuple[float, ...],
    ) -> None:
        self.out, self.encoder, self.tasks, self.adapted = out, encoder, tasks, adapted
        self._early = {early_name(share): share_of(steps, share) for share in shares}

    def best(self, update: int, figures: dict[str, float], progress: Progress) -> None:
        """Keep the encoder if the dev figures are the best so far.

        One task: its first metric decides. Several: the mean of their first metrics, an error rate
        e counted as 100 − e, at least 0.
        """
        if not figures:
            return
        if len(self.tasks) == 1:
            (task,) = self.tasks.values()
            name = task.metrics[0]
            value = figures[name]
            improved = progress.best is None or better(name, value, than=progress.best)
        else:
            name, value = "mean", mean_figure(self.tasks, figures)
            improved = progress.best is None or value > progress.best
        log.info("update %d: dev %s %.2f", update, name, value)
        if improved:
            progress.best = value
            self._save(BEST)

    def early(self, update: int) -> None:
        """Keep the encoder after its share of the updates."""
        for name, wanted in self._early.items():
            if update == wanted:
                log.info("update %d: kept as %s", update, name)
                self._save(name)

    def last(self) -> str:
        """Keep the encoder, as the best one too where nothing was evaluated; give its hash."""
        encoder = self._save(LAST)
        if not (self.out / BEST).exists():
            self._save(BEST)
        return encoder.fingerprint()

    def _save(self, name: str) -> SpeechEncoder:
        encoder = self.encoder
        if self.adapted:
            encoder = copy.deepcopy(encoder)
            merge_adapters(encoder)
        if PartialState().is_main_process:
            encoder.save(self.out / name)
        return encoder


def early_name(share: float) -> str:
    """Give the folder of the encoder after a share of the updates: 0.2 → `encoder-at-20`."""
    return f"{LAST}-at-{100 * share:g}"


def mean_figure(tasks: Mapping[str, Task], figures: Mapping[str, float]) -> float:
    """Give the mean of the tasks' first metrics, each from 0 to 100, higher is better."""
    total = 0.0
    for name, task in tasks.items():
        metric = task.metrics[0]
        value = figures[f"{name}_{metric}"]
        total += value if direction(metric) == "higher" else max(0.0, 100.0 - value)
    return total / len(tasks)
