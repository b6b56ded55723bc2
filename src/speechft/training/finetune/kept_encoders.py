"""Which encoders a fine-tuning keeps: the last one, the best one on dev, and early ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

from speechft.core.artifact import content_id
from speechft.core.errors import CheckpointError
from speechft.core.heard import Heard, write_heard
from speechft.core.logging import get_logger
from speechft.encoders import SpeechEncoder
from speechft.metrics.measures import better, direction, goodness
from speechft.metrics.statistics import mean
from speechft.tasks import Task
from speechft.training.adapters import merge_adapters
from speechft.training.distributed import on_main
from speechft.training.finetune.settings import BEST, LAST, early_name
from speechft.training.loop import Progress, check_finite
from speechft.training.run_folder import LAST_GOOD
from speechft.training.schedule import share_of

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
        heads: writes the heads into a folder, beside an encoder of this fingerprint.
        heard: what these encoders have heard with labels.
        dev: what the best one is chosen on, and where the run ends.
        patience: evaluations without a better one after which the run ends; never if none.
        collect: brings the encoder up to date where another copy is trained.
        tune: lets dev fix what the tasks' decoding leaves open, as an evaluation does.
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
        heads: Callable[[Path, str], None],
        heard: Heard,
        dev: Heard,
        patience: int | None = None,
        collect: Callable[[], None] = lambda: None,
        tune: Callable[[], None] = lambda: None,
    ) -> None:
        self.collect, self.tune = collect, tune
        self.patience = patience
        self.heads, self.heard, self.dev = heads, heard, dev
        self.out, self.encoder, self.tasks, self.adapted = out, encoder, tasks, adapted
        self.fingerprint = ""  # of the last encoder, once that is kept
        self._early = {early_name(share): share_of(steps, share) for share in shares}

    def best(self, figures: dict[str, float], progress: Progress) -> None:
        """Keep the encoder if the dev figures are the best so far.

        One task: its first metric decides. Several: the mean of the first metrics of those that
        have a dev split, an error rate e counted as 100 − e, at least 0.
        """
        if not figures:
            return
        if len(self.tasks) == 1:
            (task,) = self.tasks.values()
            name = task.leading
            value = figures[name]
            improved = progress.best is None or better(name, value, than=progress.best)
        else:
            name, value = "mean", mean_figure(self.tasks, figures)
            improved = progress.best is None or value > progress.best
        log.info("update %d: dev %s %.2f", progress.update, name, value)
        progress.waited = 0 if improved else progress.waited + 1
        if improved:
            progress.best = value
            self._save(BEST, progress)  # by what the evaluation has fixed just now
        elif self.patience is not None and progress.waited >= self.patience:
            said = "update %d: the run ends, since %d evaluations in a row were no better"
            log.info(said, progress.update, progress.waited)
            progress.ended = True

    def early(self, progress: Progress) -> None:
        """Keep the encoder after its share of the updates."""
        for name, wanted in self._early.items():
            if progress.update == wanted:
                log.info("update %d: kept as %s", wanted, name)
                self.keep(name, progress)

    def last(self, progress: Progress) -> list[str]:
        """Keep the encoder, as the best one too where nothing was evaluated.

        Returns:
            The names of all encoders that the run has kept.

        Raises:
            CheckpointError: one that was kept on the way is gone, or is not as it was written.
        """
        on_main(lambda: self._check_kept(progress))
        self.fingerprint = self.keep(LAST, progress)
        if BEST not in progress.kept:
            self._save(BEST, progress)
        return list(progress.kept)

    def last_good(self, progress: Progress) -> None:
        """Keep the encoder of a training that came to nothing."""
        self.keep(LAST_GOOD, progress)

    def _write_beside(self, folder: Path, encoder: SpeechEncoder, chosen: bool) -> None:
        self.heads(folder, encoder.fingerprint())
        write_heard(folder, self.heard.chosen_on(self.dev) if chosen else self.heard)

    def _check_kept(self, progress: Progress) -> None:
        for name, content in progress.kept.items():
            if not (self.out / name).is_dir() or content_id(self.out / name) != content:
                raise CheckpointError(
                    "an encoder that was kept on the way is gone, or is not as it was written",
                    where=self.out / name,
                    hint=f"remove {self.out} to train it again",
                )

    def merged(self) -> SpeechEncoder:
        """Give the encoder; where it carries adapters a copy that they are merged into."""
        if not self.adapted:
            return self.encoder
        encoder = copy.deepcopy(self.encoder)
        merge_adapters(encoder)
        return encoder

    def keep(self, name: str, progress: Progress) -> str:
        """Write the encoder as it is, an average too; give its fingerprint, in all processes."""
        self.tune()
        return self._save(name, progress)

    def _save(self, name: str, progress: Progress) -> str:
        self.collect()
        check_finite(self.encoder, progress, self.out)
        fingerprint, progress.kept[name] = on_main(lambda: self._write(name, progress))
        return fingerprint

    def _write(self, name: str, progress: Progress) -> tuple[str, str]:
        encoder = self.merged()
        chosen = progress.best is not None and (name == BEST or self.patience is not None)
        encoder.save(self.out / name, lambda folder: self._write_beside(folder, encoder, chosen))
        return encoder.fingerprint(), content_id(self.out / name)


def mean_figure(tasks: Mapping[str, Task], figures: Mapping[str, float]) -> float:
    """Give the mean of the tasks' first metrics, each from 0 to 100, higher is better.

    Args:
        tasks: name → task; those without a dev split have no figures.
        figures: of the others, named after their tasks.
    """
    metrics = {f"{name}_{task.leading}": task.leading for name, task in tasks.items()}
    found = {name: metric for name, metric in metrics.items() if name in figures}
    return mean(goodness(figures[name], direction(metric)) for name, metric in found.items())
