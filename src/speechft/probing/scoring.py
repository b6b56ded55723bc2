"""One trained head: train, dev and test split in, scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from lhotse.cut import Cut
from torch import nn

from speechft.core.logging import get_logger
from speechft.data.audio import heard_samples
from speechft.hidden.states import SplitStates
from speechft.probing.batches import Split
from speechft.probing.probe import ProbeResult, predict, probe
from speechft.probing.protocol import ProbePlan, protocol_of
from speechft.tasks import Size, Task

_SHARE: Final = 0.1  # of a GPU's free memory, for the time means of one split
_logger = get_logger(__name__)


@dataclass(frozen=True)
class TaskResult:
    """What came of a task on one train, dev and test split.

    Attributes:
        scores: metric → percent, on the test split.
        items: utterances in the test split.
        grid: what dev said, one record per choice; the chosen one is marked.
        dev: metrics of the chosen one.
        about: what was chosen and how, for the record.
        layer_weights: share of each hidden state.
        rows: predictions as plain records.
        skipped: learning rate → updates skipped because the gradient was not finite.
    """

    scores: dict[str, float]
    items: int
    grid: list[dict[str, Any]]
    dev: dict[str, float]
    about: dict[str, Any]
    layer_weights: list[float]
    rows: list[dict[str, Any]]
    skipped: dict[str, int] = field(default_factory=dict)


def run_probe(
    task: Task,
    cuts: Sequence[Sequence[Cut]],
    states: Sequence[SplitStates],
    plan: ProbePlan,
    *,
    size: Size,
    seed: int,
    device: str,
    files: Sequence[Path] = (),
) -> TaskResult:
    """Train, choose on dev, and score the test split once.

    Args:
        task: fixed from the training split.
        cuts: of train, dev and test.
        states: of train, dev and test.
        plan: steps, rates, batches.
        size: width of the head.
        seed: of head and batches.
        device: where heads are trained.
        files: ASR's lexicon and language model, where the test split is to be decoded with them.
    """
    worded = task.with_language_model(*files) if files else None
    train, dev, test = (
        _split(task, own, _near(view, task, device), plan, role)
        for role, own, view in zip(("train", "dev", "test"), cuts, states, strict=True)
    )
    splits = {"train": train, "dev": dev, "test": test}
    unreachable = {n: task.unreachable(s.states.lengths, s.targets) for n, s in splits.items()}
    _report_unreachable(task, unreachable["train"], len(train.targets))

    def build_head() -> nn.Module:
        return task.build_head(train.states.width, purpose="probe", size=size)

    found = probe(task, build_head, train, dev, plan, seed=seed, device=device, choose=task.choose)

    def predictions(split: Split, decoded_by: Task = task) -> list[Any]:
        return predict(decoded_by, build_head, found.weights, split.states, plan, device=device)

    tuned = task.tune(predictions(dev), dev.references) if tunes(task) else {}
    answers = predictions(test)
    scores = task.score(answers, test.references)
    rows = task.rows(cuts[2], test.references, answers)
    if worded is not None:
        texts = predictions(test, worded)
        scores |= worded.score(texts, test.references)
        rows = [{**row, "with_lm": text} for row, text in zip(rows, texts, strict=True)]
    shares = found.weights["weighted_sum.weights"].softmax(dim=0).tolist()
    judge = "test" if cuts[1] is cuts[2] else "dev"
    return TaskResult(
        scores=scores,
        items=len(test.references),
        grid=[{**row, "chosen": _is_chosen(row, found)} for row in found.grid],
        dev=found.dev,
        about={
            "learning_rate": found.rate,
            "step": found.step,
            "selection": f"{judge} {next(iter(found.dev))}",
            **tuned,
            "unreachable": unreachable,
        },
        layer_weights=[round(share, 6) for share in shares],
        rows=rows,
        skipped={f"{rate:g}": n for rate, n in found.skipped.items() if n},
    )


def tunes(task: Task) -> bool:
    """Tell whether a task fixes something on the dev split besides the head."""
    return type(task).tune is not Task.tune


def _near(states: SplitStates, task: Task, device: str) -> SplitStates:
    """Give time means on the GPU that uses them at every update, where there is much room."""
    means = states.pooled.means
    if not task.pooled or torch.device(device).type != "cuda":
        return states
    free, _ = torch.cuda.mem_get_info(device)
    fits = means.nbytes <= free * _SHARE
    return replace(states, pooled=states.pooled.to(device)) if fits else states


def _split(
    task: Task, cuts: Sequence[Cut], states: SplitStates, plan: ProbePlan, role: str
) -> Split:
    targets = [task.target(cut) for cut in cuts]
    protocol = protocol_of(task.protocol)
    return Split(
        protocol.view(task, cuts, states, alone=role != "train" and plan.eval_sorted),
        targets,
        [task.reference(cut) for cut in cuts],
        [heard_samples(cut) for cut in cuts],
        protocol.draw_dev(task, targets) if role == "dev" else None,
    )


def _is_chosen(row: dict[str, Any], found: ProbeResult) -> bool:
    return (row["learning_rate"], row["step"]) == (found.rate, found.step)


def _report_unreachable(task: Task, count: int, total: int) -> None:
    if count:
        _logger.warning(
            "%s: %d of %d training utterances have fewer frames than their target needs; "
            "they do not train the head",
            task.id,
            count,
            total,
        )
