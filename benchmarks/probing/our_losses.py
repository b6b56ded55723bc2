"""Our side of `benchmarks/losses.py`: `speechft.evaluate`, led along S3PRL's way.

The head starts with S3PRL's weights and sees S3PRL's batches; dropout and SpecAugment are off.
Everything else is what a user gets.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jobs import answer
from lhotse.cut import Cut
from torch import Tensor, nn

from speechft.core.lengths import HOP, SAMPLE_RATE
from speechft.core.seeding import torch_generator
from speechft.data.cuts import place_of
from speechft.probing import batches, cells, qbe_search
from speechft.probing import probe as probing
from speechft.probing.evaluate import evaluate
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import Task
from speechft.tasks.ctc import BLANK, CTCTask

Weights = dict[str, Tensor]
POOLED = ("ks", "ic", "sid", "er")
BLANKS = {"asr": "<s>"}  # S3PRL's name of the blank


class Done(BaseException):
    """All that S3PRL did is done; what comes after it is not compared."""


class Follower:
    """Leads one probe along what S3PRL recorded, and notes its losses."""

    def __init__(self, task: str, record: dict[str, Any]) -> None:
        self.task, self.record = task, record
        self.losses: list[float] = []
        self.found: dict[str, Any] = {}
        self.cuts: Sequence[Cut] = ()

    def run_probe(self, plain: Callable[..., Any], task: Task, cuts: Any, *rest: Any, **more: Any):
        """Note the training utterances; where there are folds, `Done` ends it with the first."""
        self.cuts = cuts[0]
        return plain(task, cuts, *rest, **more)

    def probe(
        self, plain: Callable[..., Any], task: Task, build: Any, train: Any, *rest: Any, **more: Any
    ):
        """Start with S3PRL's head, without what is drawn at random."""
        dev, plan, *others = rest
        loss = task.loss

        def noted(logits: Tensor, lengths: Tensor | None, targets: Any) -> Tensor:
            value = loss(logits, lengths, targets)
            self.losses.append(value.item())
            return value

        def build_head() -> nn.Module:
            head = build()
            for part in head.modules():
                if isinstance(part, nn.Dropout):
                    part.p = 0.0
            own = self.record["weights"]["head"]
            head.load_state_dict(translate(self.task, task, own, self.record["outputs"]))
            return head

        task.loss = noted  # type: ignore[method-assign]
        try:
            plan = replace(plan, spec_augment=False, steps=plan.steps + 1)  # dev is not scored
            more["on_step"] = self.count
            return plain(task, build_head, train, dev, plan, *others, **more)
        finally:
            task.loss = loss  # type: ignore[method-assign]

    def count(self) -> None:
        """Stop behind the last update."""
        if len(self.losses) == len(self.record["losses"]):
            raise Done

    def updates(
        self,
        _plain: Callable[..., Any],
        scheme: Any,
        size: int,
        accumulate: int,
        seed: int,
        train: Any,
    ) -> Iterator[list[list[int]]]:
        """Give S3PRL's batches as items of our training split."""
        index: dict[str, int] = {}
        for item, cut in enumerate(self.cuts):
            index.setdefault(name_of(self.task, cut), item)
        theirs = [[index[name] for name in batch] for batch in self.record["batches"]]
        epoch = batches._SCHEMES[scheme](train, size, torch_generator(seed, "batches", 0))
        self.found["batches_alike"] = alike(scheme, theirs, epoch, train)
        chosen = iter(theirs)
        return iter(lambda: list(islice(chosen, accumulate)), [])


def alike(scheme: str, theirs: list[list[int]], ours: list[list[int]], train: Any) -> bool:
    """Tell whether S3PRL's batches could be ours: sizes, and lengths where these make the batches.

    Utterances of one length may stand in any order, so that lengths are compared, not names.
    """
    sizes = {
        "window": [len(target) for target in train.targets],
        "blocks": train.samples,
    }.get(scheme, [0] * len(train.targets))
    known = Counter(tuple(sorted(sizes[item] for item in batch)) for batch in ours)
    return all(tuple(sorted(sizes[item] for item in batch)) in known for batch in theirs)


def name_of(task: str, cut: Cut) -> str:
    """Give the name by which S3PRL's expert knows an utterance."""
    parts = Path(place_of(cut)["file"]).with_suffix("").parts
    if task in ("sid", "asv"):
        return "-".join(parts[-3:])
    if task == "ks":
        return "-".join(parts[-2:]) + ".wav"
    if task == "sd":
        recording = str(cut.recording.id) if cut.recording else ""
        return f"{recording}@{round(cut.start * SAMPLE_RATE / HOP)}"
    return parts[-1]


def translate(name: str, task: Any, theirs: Weights, outputs: list[list[str]]) -> Weights:
    """Give S3PRL's head under our names, its outputs in our order."""
    pairs = _PAIRS[name]
    own = {ours: theirs[key] for ours, key in pairs.items()}
    if name == "asv":
        for layer, size in enumerate((5, 3, 3, 1, 1)):
            key = f"layers.{layer}.weight"
            own[key] = own[key].unflatten(1, (size, -1)).transpose(1, 2).contiguous()
    if outputs:
        place = {tuple(pair): n for n, pair in enumerate(outputs)}
        order = torch.tensor([place[pair] for pair in named(name, task)])
        if len(order) != len(outputs):
            raise SystemExit(f"{name}: S3PRL's head has {len(outputs)} outputs, ours {len(order)}")
        for key in ("output.weight", "output.bias"):
            own[key] = own[key][order]
    return own


def named(name: str, task: Any) -> list[tuple[str, str]]:
    """Give our outputs by S3PRL's names."""
    if isinstance(task, CTCTask):
        blank = BLANKS.get(name, "<pad>")
        return [("", blank if symbol == BLANK else symbol) for symbol in task.vocabulary]
    groups = task.groups.items()
    return [(group if len(groups) > 1 else "", label) for group, own in groups for label in own]


def _linear(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}


def _lstm(ours: str, theirs: str, end: str = "") -> dict[str, str]:
    parts = [f"{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")]
    return {f"{ours}.{part}": f"{theirs}.{part}{end}" for part in parts}


def _recurrent() -> dict[str, str]:
    pairs = _linear("projection", "projector") | _linear("output", "model.linear")
    for n in range(2):
        theirs = f"model.rnns.{n}.layer"
        pairs |= _lstm(f"layers.{n}.forwards", theirs)
        pairs |= _lstm(f"layers.{n}.backwards", theirs, "_reverse")
    return pairs


_FRAMES = "model.framelevel_feature_extractor.module"
_WHOLE = "model.utterancelevel_feature_extractor"
_PAIRS: dict[str, dict[str, str]] = {
    "pr": _linear("projection", "projector") | _linear("output", "model.linear"),
    "asr": _recurrent(),
    "sf": _recurrent(),
    "sd": _lstm("lstm", "model.rnn") | _linear("output", "model.linear"),
    "asv": {
        **_linear("projection", "connector"),
        **{
            k: v
            for n in range(5)
            for k, v in _linear(f"layers.{n}", f"{_FRAMES}.{n}.kernel").items()
        },
        **_linear("embedding", f"{_WHOLE}.linear1"),
        **_linear("hidden", f"{_WHOLE}.linear2"),
        "directions": "objective.W",
    },
} | {
    task: _linear("projection", "projector") | _linear("output", "model.post_net.linear")
    for task in POOLED
}


class Searcher:
    """Notes the scores of a search, by the names of queries and documents."""

    def __init__(self) -> None:
        self.scores: list[dict[str, dict[str, float]]] = []
        self.names: list[list[str]] = []

    def run_search(self, plain: Callable[..., Any], task: Task, cuts: Any, *rest: Any, **more: Any):
        """Note who is searched for, and where."""
        self.names = [[name_of("qbe", cut) for cut in own] for own in cuts]
        return plain(task, cuts, *rest, **more)

    def search(self, plain: Callable[..., Any], documents: Any, queries: Any) -> list[Any]:
        """Note the scores of a state."""
        found: list[Any] = plain(documents, queries)
        rows = [dict(zip(self.names[0], row.tolist(), strict=True)) for row in found]
        self.scores.append(dict(zip(self.names[1], rows, strict=False)))
        return found


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Evaluate along S3PRL's record; give the losses, or the scores of a search."""
    torch.set_num_threads(job["threads"])
    record = torch.load(job["record"], weights_only=True)
    follower, searcher = Follower(job["task"], record), Searcher()
    places: list[tuple[Any, str, Callable[..., Any]]] = [
        (cells, "run_probe", follower.run_probe),
        (cells, "probe", follower.probe),
        (probing, "updates", follower.updates),
        (qbe_search, "run_search", searcher.run_search),
        (qbe_search, "_search", searcher.search),
    ]
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    for (place, name, led), (_, _, plain) in zip(places, before, strict=True):
        setattr(place, name, functools.partial(led, plain))
    try:
        evaluate(EvaluateSettings(**job["settings"]))
    except Done:
        pass
    finally:
        for place, name, plain in before:
            setattr(place, name, plain)
    if job["task"] == "qbe":
        return {
            "theirs": record["scores"],
            "ours": searcher.scores[:-1],
        }  # the last are the eval queries
    return {"theirs": record["losses"], "ours": follower.losses, **follower.found}


if __name__ == "__main__":
    answer(run, __doc__)
