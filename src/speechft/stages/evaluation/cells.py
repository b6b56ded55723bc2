"""One cell of an evaluation: one encoder, one task, one seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lhotse.cut import Cut
from torch import Tensor

from speechft.core.files import atomic_dir, hash_json, write_json, write_jsonl
from speechft.core.logging import get_logger
from speechft.core.seeding import derive_seed
from speechft.metrics.directions import direction
from speechft.stages.evaluation.plans import plan_for
from speechft.stages.evaluation.settings import EvaluateSettings
from speechft.stages.hidden_store import SplitStates
from speechft.tasks import TASKS, Task
from speechft.training.probe import ProbePlan, ProbeResult, Split, predict, probe

VERSION: Final = 1  # raise it when the same settings would give other results
_logger = get_logger(__name__)


@dataclass(frozen=True)
class Cell:
    """What a cell's result depends on.

    Attributes:
        encoder_hash: the encoder's fingerprint.
        task: id.
        seed: of head and batches.
        data_hash: over the task's three splits.
        plan: steps, rates, batch size.
        size: width of the head.
        frame_dtype: of kept frames.
        predictions: whether the test predictions are kept.
    """

    encoder_hash: str
    task: str
    seed: int
    data_hash: str
    plan: ProbePlan
    size: str
    frame_dtype: str
    predictions: bool

    @property
    def key(self) -> str:
        """Name of the cell's folder."""
        values = [VERSION, *(v if k != "plan" else vars(v) for k, v in vars(self).items())]
        return f"{self.task}-{self.seed}-{hash_json(values)[:20]}"


def make_cell(
    encoder_hash: str, task: str, seed: int, hashes: Mapping[str, str], settings: EvaluateSettings
) -> Cell:
    """Give the cell of an encoder, a task and a seed; `hashes` are those of the task's splits."""
    data_hash = hash_json(dict(hashes))
    plan = plan_for(task, settings)
    pooled = TASKS[task].pooled
    return Cell(
        encoder_hash=encoder_hash,
        task=task,
        seed=seed,
        data_hash=data_hash,
        plan=plan,
        size=settings.size,
        frame_dtype="float32" if pooled else settings.frame_dtype,
        predictions=settings.predictions,
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
        cuts: of train, dev and test.
        states: of train, dev and test.
        folder: where cells lie.
        device: where heads are trained.
    """
    begin = time.perf_counter()
    task = TASKS[cell.task].from_cuts(cuts[0])
    train, dev, test = (_split(task, c, s) for c, s in zip(cuts, states, strict=True))
    unreachable = [task.unreachable(s.states.lengths, s.targets) for s in (train, dev, test)]
    _report_unreachable(cell, unreachable, train)

    def build_head() -> Any:
        return task.build_head(
            train.states.width, purpose="probe", size="superb" if cell.size == "superb" else "mini"
        )

    seed = derive_seed(cell.seed, "probe", cell.task)
    found = probe(task, build_head, train, dev, cell.plan, seed=seed, device=device)
    predictions = predict(task, build_head, found.weights, test.states, cell.plan, device=device)
    scores = task.score(predictions, test.references)
    with atomic_dir(folder / cell.key) as place:
        write_json(place / "cell.json", _content(cell, found, scores, test, unreachable))
        write_json(place / "timing.json", {"seconds": round(time.perf_counter() - begin, 3)})
        if cell.predictions:
            write_jsonl(place / "predictions.jsonl", _rows(cuts[2], test.references, predictions))


def _split(task: Task, cuts: Sequence[Cut], states: SplitStates) -> Split:
    view = states.pooled if task.pooled or states.frames is None else states.frames
    targets: list[Tensor] = [task.target(cut) for cut in cuts]
    return Split(view, targets, [task.reference(cut) for cut in cuts])


def _report_unreachable(cell: Cell, counts: Sequence[int], train: Split) -> None:
    if counts[0]:
        _logger.warning(
            "%s: %d of %d training utterances have fewer frames than their target needs; "
            "they do not train the head",
            cell.task,
            counts[0],
            len(train.targets),
        )


def _content(
    cell: Cell,
    found: ProbeResult,
    scores: Mapping[str, float],
    test: Split,
    unreachable: Sequence[int],
) -> dict[str, Any]:
    shares = found.weights["weighted_sum.weights"].softmax(dim=0).tolist()
    common = {
        "encoder_hash": cell.encoder_hash,
        "task": cell.task,
        "split": "test",
        "items": len(test.references),
        "seed": cell.seed,
        "data_hash": cell.data_hash,
        "learning_rate": found.rate,
        "step": found.step,
        "head": cell.size,
        "unreachable": dict(zip(("train", "dev", "test"), unreachable, strict=True)),
        "cell": cell.key,
    }
    return {
        "records": [
            {"metric": m, "value": round(v, 6), "direction": direction(m), **common}
            for m, v in scores.items()
        ],
        "grid": [
            {**row, "chosen": (row["learning_rate"], row["step"]) == (found.rate, found.step)}
            for row in found.grid
        ],
        "dev": found.dev,
        "layer_weights": [round(share, 6) for share in shares],
        "skipped_updates": {f"{rate:g}": n for rate, n in found.skipped.items() if n},
    }


def _rows(
    cuts: Sequence[Cut], references: Sequence[Any], predictions: Sequence[Any]
) -> list[dict[str, Any]]:
    return [
        {"id": cut.id, "reference": reference, "prediction": prediction}
        for cut, reference, prediction in zip(cuts, references, predictions, strict=True)
    ]
