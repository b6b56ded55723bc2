"""One cell of an evaluation: of an encoder, a task and a seed a head is trained and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from lhotse.cut import Cut
from torch import Tensor, nn

from speechft.core.artifact import Artifact, content_id, hash_values
from speechft.core.files import atomic_dir, write_json, write_jsonl
from speechft.core.lengths import HOP
from speechft.core.seeding import derive_seed
from speechft.data.cuts import heard_samples, place_of
from speechft.data.identity import audio_hashes, heard_in, stretches_of
from speechft.encoders.identity import EncodingPrecision
from speechft.hidden.states import SplitStates
from speechft.metrics.measures import direction
from speechft.probing.batches import Split
from speechft.probing.hardly_learned import note_of
from speechft.probing.probe import predict, probe
from speechft.probing.protocol import ProbePlan, plan_for, protocol_of
from speechft.probing.settings import EvaluateSettings, version_of
from speechft.tasks import TASKS, ProtocolName, Size, Task, file_stem, refuse_unreachable
from speechft.tasks.kept_head import HEAD, HeadRecord, write_head

CELLS: Final = "cells"
CELL: Final = "cell.json"
TIMING: Final = "timing.json"
PREDICTIONS: Final = "predictions.jsonl"
_SMALL: Final = 4 << 20  # bytes of a head that is always kept
_SHARE: Final = 0.1  # of a GPU's free memory, for the time means of one split


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
        keep_heads: heads are kept whatever their size; small ones always are.
        select: the metric that chooses on dev; the task's own if empty.
        precision: of the encoder's passes.
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
    keep_heads: bool = False
    select: str = ""
    precision: EncodingPrecision = "float32"

    @cached_property
    def key(self) -> str:
        """Name of the cell's folder."""
        return f"{file_stem(self.task)}-{self.seed}-{self.artifact(Path()).id[:20]}"

    def artifact(self, folder: Path) -> Artifact:
        """Give the artefact that lies in a folder, or will."""
        return Artifact(folder, "probe", self._depends, version_of(self.task, self.protocol))

    @cached_property
    def _depends(self) -> dict[str, Any]:
        without = ("weights", *(() if self.select else ("select",)))
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in without}
        own |= {} if own.pop("keep_heads") is False else {"keep_heads": True}
        if self.precision == "float32":
            del own["precision"]  # as it was before there was another
        plan = dict(vars(self.plan))
        if not plan["normalize"]:
            del plan["normalize"]  # as it was before there was this
        return {**own, "plan": plan, "files": [content_id(path) for path in self.files]}


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
        keep_heads=settings.keep_heads and kind.trains,
        select=settings.select.get(task, ""),
        precision=settings.precision,
    )


def run_cell(
    cell: Cell,
    cuts: Sequence[Sequence[Cut]],
    states: Sequence[SplitStates],
    folder: Path,
    device: str,
    hop: int = HOP,
    numbers: Sequence[int] = (1,),
) -> None:
    """Train, choose, score the test split once, and write the cell's folder in one move.

    Args:
        cell: what to run.
        cuts: of train, dev and test; of every fold where there are folds.
        states: of the same splits.
        folder: where cells lie.
        device: where heads are trained.
        hop: samples per frame of the encoder.
        numbers: of the folds.
    """
    begin = time.perf_counter()
    folds = [
        _run(cell, cuts[n : n + 3], states[n : n + 3], device, number - 1, hop)
        for n, number in zip(range(0, len(cuts), 3), numbers, strict=True)
    ]
    found = folds[0] if numbers == (1,) else join_folds(folds, numbers)
    with atomic_dir(folder / cell.key, (CELL, TIMING, PREDICTIONS, HEAD)) as place:
        write_json(place / CELL, _content(cell, found))
        write_json(place / TIMING, {"seconds": round(time.perf_counter() - begin, 3)})
        if cell.predictions:
            write_jsonl(place / PREDICTIONS, found.rows)
        heads = _write_heads(cell, folds, place)
        cell.artifact(place).end([CELL, TIMING, PREDICTIONS, *heads])


def _write_heads(cell: Cell, folds: Sequence[TaskResult], place: Path) -> list[str]:
    """Write the chosen probe of every fold; give the files' names."""
    names = []
    for number, head in enumerate((fold.head for fold in folds), start=1):
        size = sum(tensor.nbytes for tensor in head[1].values()) if head else 0
        if head is None or (size > _SMALL and not cell.keep_heads):
            continue
        names.append(HEAD if len(folds) == 1 else f"head-fold-{number}.safetensors")
        record = head[0].model_copy(update={"encoder": cell.weights, "content": cell.encoder})
        write_head(place / names[-1], head[1], record)
    return names


def join_folds(folds: Sequence[TaskResult], numbers: Sequence[int]) -> TaskResult:
    """Give the mean over folds; each keeps its own choices in the record."""

    def mean(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
        return {m: sum(s[m] for s in scores) / len(scores) for m in scores[0]}

    numbered = list(zip(numbers, folds, strict=True))
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
        head: the chosen probe: what it is, and its weights; none where nothing is trained.
    """

    scores: dict[str, float]
    items: int
    grid: list[dict[str, Any]]
    dev: dict[str, float]
    about: dict[str, Any]
    layer_weights: list[float]
    rows: list[dict[str, Any]]
    skipped: dict[str, int] = field(default_factory=dict)
    head: tuple[HeadRecord, Mapping[str, Tensor]] | None = None


def _run(
    cell: Cell,
    cuts: Sequence[Sequence[Cut]],
    states: Sequence[SplitStates],
    device: str,
    fold: int,
    hop: int,
) -> TaskResult:
    task = TASKS[cell.task].from_cuts(cuts[0], cell.protocol).selecting(cell.select)
    task.hop = hop
    if not task.trains:
        from speechft.probing.qbe_search import run_search

        found = run_search(task, cuts, states, device=device)
    else:
        seed = derive_seed(cell.seed, "probe", cell.task, *([fold] if fold else []))
        found = run_probe(
            task, cuts, states, cell.plan,
            size=cell.head_size, seed=seed, device=device, files=cell.files,
        )  # fmt: skip
    places = {cut.id: place_of(cut) for cut in cuts[2]}
    rows = [{"id": row["id"], **places.get(row["id"], {}), **row} for row in found.rows]
    return replace(found, rows=rows)


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
        **({} if cell.precision == "float32" else {"precision": cell.precision}),
        **({"states": "normalized"} if cell.plan.normalize else {}),
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
        split_of(task, own, _near(view, task, device), plan, role)
        for role, own, view in zip(("train", "dev", "test"), cuts, states, strict=True)
    )
    held_out = {"dev": dev, "test": test}
    unreachable = {
        "train": refuse_unreachable(task, train.states.lengths, train.targets),
        **{n: task.unreachable(s.states.lengths, s.targets) for n, s in held_out.items()},
    }

    def build_head() -> nn.Module:
        return task.build_head(train.states.width, purpose="probe", size=size)

    found = probe(task, build_head, train, dev, plan, seed=seed, device=device)

    def predictions(split: Split, decoded_by: Task = task) -> list[Any]:
        return predict(decoded_by, build_head, found.weights, split.states, plan, device=device)

    tuned = task.tune(predictions(dev), dev.references) if task.tunes else {}
    answers = predictions(test)
    scores = task.score(answers, test.references)
    rows = task.rows(cuts[2], test.references, answers)
    if worded is not None:
        texts = predictions(test, worded)
        scores |= worded.score(texts, test.references)
        rows = [{**row, "with_lm": text} for row, text in zip(rows, texts, strict=True)]
    shares = found.weights["weighted_sum.weights"].softmax(dim=0).tolist()
    return TaskResult(
        scores=scores,
        items=len(test.references),
        grid=[
            {**row, "chosen": (row["learning_rate"], row["step"]) == (found.rate, found.step)}
            for row in found.grid
        ],
        dev=found.dev,
        about={
            "learning_rate": found.rate,
            "step": found.step,
            "selection": f"{chosen_on(cuts)} {next(iter(found.dev))}",
            **tuned,
            **note_of(task.answered(answers, test.references)),
            "unreachable": unreachable,
        },
        layer_weights=[round(share, 6) for share in shares],
        rows=rows,
        skipped={f"{rate:g}": n for rate, n in found.skipped.items() if n},
        head=(
            HeadRecord(
                task=task.to_dict(),
                purpose="probe",
                size=size,
                width=train.states.width,
                states=train.states.num_states,
                normalize=plan.normalize,
            ),
            found.weights,
        ),
    )


def chosen_on(cuts: Sequence[Sequence[Cut]]) -> str:
    """Give "test" where the dev split holds some of every test utterance, perhaps besides others.

    Audio is told by the bytes of its file, whatever the utterances are called.
    """
    content = audio_hashes([*cuts[1], *cuts[2]])
    dev = heard_in(cuts[1], "", content)
    return "test" if all(dev.holds(stretches_of(cut, content)) for cut in cuts[2]) else "dev"


def _near(states: SplitStates, task: Task, device: str) -> SplitStates:
    """Give time means on the GPU that uses them at every update, where there is much room."""
    means = states.pooled.means
    if not task.pooled or torch.device(device).type != "cuda":
        return states
    free, _ = torch.cuda.mem_get_info(device)
    fits = means.nbytes <= free * _SHARE
    return replace(states, pooled=states.pooled.to(device)) if fits else states


def split_of(
    task: Task, cuts: Sequence[Cut], states: SplitStates, plan: ProbePlan, role: str
) -> Split:
    """Give a split as a probe reads it; `role` is train, dev or test."""
    targets = [task.target(cut) for cut in cuts]
    protocol = protocol_of(task.protocol)
    return Split(
        protocol.view(task, cuts, states, alone=role != "train" and plan.eval_sorted),
        targets,
        [task.reference(cut) for cut in cuts],
        [heard_samples(cut) for cut in cuts],
        protocol.draw_dev(task, targets) if role == "dev" else None,
    )
