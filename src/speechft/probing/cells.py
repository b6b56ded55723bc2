"""One cell of an evaluation: one encoder, one task, one seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from lhotse.cut import Cut

from speechft.core.artifact import Artifact, content_id, hash_values
from speechft.core.files import atomic_dir, write_json, write_jsonl
from speechft.core.seeding import derive_seed
from speechft.hidden.states import SplitStates
from speechft.metrics.measures import direction
from speechft.probing.protocol import ProbePlan, plan_for
from speechft.probing.scoring import TaskResult, run_probe
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS, ProtocolName, Size

CELLS: Final = "cells"
CELL: Final = "cell.json"
TIMING: Final = "timing.json"
PREDICTIONS: Final = "predictions.jsonl"
VERSION: Final = 5  # raise it when the same settings would give other results


@dataclass(frozen=True)
class Cell:
    """What a cell's result depends on.

    Attributes:
        encoder: identity of all that changes a hidden state.
        weights: of its tensors alone, by which results and checkpoints are matched.
        task: id.
        seed: of head and batches.
        data_hash: identity of the task's splits.
        plan: steps, rates, batch size.
        head_size: width of the head.
        frame_dtype: of kept frames.
        predictions: whether the test predictions are kept.
        protocol: "clean" or "s3prl".
        files: lexicon and language model of ASR.
    """

    encoder: str
    weights: str
    task: str
    seed: int
    data_hash: str
    plan: ProbePlan
    head_size: Size
    frame_dtype: str
    predictions: bool
    protocol: ProtocolName = "clean"
    files: tuple[Path, ...] = ()

    @cached_property
    def key(self) -> str:
        """Name of the cell's folder."""
        return f"{self.task}-{self.seed}-{self._artifact(Path()).id[:20]}"

    def artifact(self, cells: Path) -> Artifact:
        """Give the cell's folder among all."""
        return self._artifact(cells / self.key)

    def write(
        self, cells: Path, content: Mapping[str, Any], rows: Sequence[Any], seconds: float
    ) -> None:
        """Write the cell's folder in one move."""
        with atomic_dir(cells / self.key, (CELL, TIMING, PREDICTIONS)) as place:
            write_json(place / CELL, content)
            write_json(place / TIMING, {"seconds": round(seconds, 3)})
            if self.predictions:
                write_jsonl(place / PREDICTIONS, rows)
            self._artifact(place).end([CELL, TIMING, PREDICTIONS])

    def _artifact(self, folder: Path) -> Artifact:
        return Artifact(folder, "probe", self._depends, version_of(self.task, self.protocol))

    @cached_property
    def _depends(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "weights"}
        return {**own, "plan": vars(self.plan), "files": [content_id(path) for path in self.files]}


def version_of(task: str, protocol: ProtocolName) -> int:
    """Give the version of what makes a task's results."""
    return VERSION + TASKS[task].revisions.get(protocol, 0)


def make_cell(
    encoder: str,
    weights: str,
    task: str,
    seed: int,
    ids: Mapping[str, str],
    settings: EvaluateSettings,
) -> Cell:
    """Give the cell of an encoder, a task and a seed; `ids` are those of the task's splits."""
    kind = TASKS[task]
    return Cell(
        encoder=encoder,
        weights=weights,
        task=task,
        seed=seed,
        data_hash=hash_values(dict(ids)),
        plan=plan_for(task, settings),
        head_size=settings.head_size,
        frame_dtype="float32" if kind.pooled else settings.frame_dtype,
        predictions=settings.predictions,
        protocol=settings.protocol,
        files=settings.language_model_files() if kind.takes_language_model else (),
    )


def run_cell(
    cell: Cell,
    cuts: Sequence[Sequence[Cut]],
    states: Sequence[SplitStates],
    folder: Path,
    device: str,
) -> None:
    """Train, choose, score the test split once, and write the cell's folder in one move.

    Args:
        cell: what to run.
        cuts: of train, dev and test; of every fold where there are folds.
        states: of the same splits.
        folder: where cells lie.
        device: where heads are trained.
    """
    begin = time.perf_counter()
    folds = [
        _run(cell, cuts[n : n + 3], states[n : n + 3], device, n // 3)
        for n in range(0, len(cuts), 3)
    ]
    found = folds[0] if len(folds) == 1 else join_folds(folds)
    cell.write(folder, _content(cell, found), found.rows, time.perf_counter() - begin)


def join_folds(folds: Sequence[TaskResult]) -> TaskResult:
    """Give the mean over folds; each keeps its own choices in the record."""

    def mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {m: sum(s[m] for s in scores) / len(scores) for m in scores[0]}

    numbered = list(enumerate(folds, start=1))
    unreachable = [fold.about["unreachable"] for fold in folds]
    return TaskResult(
        scores=mean([fold.scores for fold in folds]),
        items=sum(fold.items for fold in folds),
        grid=[{"fold": n, **row} for n, fold in numbered for row in fold.grid],
        dev=mean([fold.dev for fold in folds]),
        about={
            **folds[0].about,
            "learning_rate": None,
            "step": None,
            "unreachable": {part: sum(u[part] for u in unreachable) for part in unreachable[0]},
            "folds": [
                {
                    "fold": n,
                    **{m: round(v, 6) for m, v in fold.scores.items()},
                    "learning_rate": fold.about["learning_rate"],
                    "step": fold.about["step"],
                    "items": fold.items,
                }
                for n, fold in numbered
            ],
        },
        layer_weights=[
            round(sum(shares) / len(folds), 6)
            for shares in zip(*(fold.layer_weights for fold in folds), strict=True)
        ],
        rows=[{"fold": n, **row} for n, fold in numbered for row in fold.rows],
        skipped={f"fold {n}, {r}": k for n, fold in numbered for r, k in fold.skipped.items()},
    )


def _run(
    cell: Cell,
    cuts: Sequence[Sequence[Cut]],
    states: Sequence[SplitStates],
    device: str,
    fold: int,
) -> TaskResult:
    task = TASKS[cell.task].from_cuts(cuts[0], cell.protocol)
    if not task.trains:
        from speechft.probing.searching import run_search

        return run_search(task, cuts, states, device=device)
    seed = derive_seed(cell.seed, "probe", cell.task, *([fold] if fold else []))
    return run_probe(
        task, cuts, states, cell.plan,
        size=cell.head_size, seed=seed, device=device, files=cell.files,
    )  # fmt: skip


def _content(cell: Cell, found: TaskResult) -> dict[str, Any]:
    common = {
        "encoder_id": cell.encoder,
        "encoder_hash": cell.weights,
        "task": cell.task,
        "split": "test",
        "items": found.items,
        "seed": cell.seed,
        "data_hash": cell.data_hash,
        **found.about,
        "head": cell.head_size,
        "protocol": cell.protocol,
        "cell": cell.key,
    }
    return {
        "records": [
            {"metric": m, "value": round(v, 6), "direction": direction(m), **common}
            for m, v in found.scores.items()
        ],
        "grid": found.grid,
        "dev": found.dev,
        "layer_weights": found.layer_weights,
        "skipped_updates": found.skipped,
    }
