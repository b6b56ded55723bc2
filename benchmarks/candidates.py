"""Ways to go from θ0 towards θ' beyond one alpha, in the setting of `studies/supervised.yaml`.

    python benchmarks/candidates.py --keep work --out results/benchmarks/candidates.json

θ' is the packaged encoder after stable fine-tuning on each of some tasks of synthetic:study, with
that study's updates and rates. Every candidate makes an encoder of θ0 and θ', which probes score on
the dev splits of all these tasks; they see 250 utterances of each training split and have fewer
updates than usual. Nothing reads a test split. The measure, defined before anything was measured:
*source* is the gain over alpha 0.25 on the task that θ' was tuned on, and *others* that on the mean
of the other tasks, both of first metrics, errors as 100 − e. A candidate earns its place where
*others* is no lower than −1 point (the margin) in the mean over tasks and seeds, and *source* is
higher than for any plain alpha of which the same is true. A call goes on where an earlier one with
the same `--keep` ended; `--only` names candidates.

`--kept` alone measures nothing: it reads what studies of the same setting have kept of other
alphas, with three seeds and whole probes, by the same measure, on the test splits that they show.

Candidates, with the one parameter of each in its name:

- `alpha A`: plain interpolation, of which averaging the weights over a range of alphas (Weight
  Weaving) is the middle one, and whose singular values with one θ' no calibration (SVC) changes.
- `ramp A..B`: alpha from the first to the last layer (LiNeS; tiers by depth, LARV).
- `rank A, R`: alpha A on that share R of the singular directions of every matrix's task vector.
- `shift A, R`: alpha A on that share of the directions of its outputs on unlabelled speech that
  move most (in the manner of ESM): the left singular vectors of (θ' − θ0) G^½, G the mean of x xᵀ
  over the inputs x, with θ0.
- `quiet A, R`: alpha A on what the other share of the *inputs'* principal directions carries, and
  0.25 on the strongest R of them, which speech as such uses most.
- `trim A, R`: alpha A on the largest share R of the weights' changes (TIES with one θ').
- `seeds A`: alpha A towards the mean of the θ' of two seeds.
- `near B`: an alpha for every layer by the drift of its hidden states (`--alpha auto`, by layer).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from lhotse.cut import Cut
from probe import machine, note
from probing.figures import rounded
from torch import Tensor

from speechft.analysis.alpha.probes import Bench as Probing
from speechft.analysis.alpha.probes import parts_of, probed
from speechft.analysis.alpha.settings import AlphaSettings
from speechft.analysis.alpha.stage import choose_alpha
from speechft.core.files import read_json, read_jsonl, write_json
from speechft.data.audio import load_waveform
from speechft.data.load import load_data
from speechft.encoders import SpeechEncoder, load_encoder
from speechft.hidden.dataset_states import Request
from speechft.hidden.front_end_cache import FrontEndCache, KeptFeatures
from speechft.hidden.states import Passes, SplitStates
from speechft.merging.alpha import CHOICE, read_choice
from speechft.merging.data_statistics import gather_gram
from speechft.merging.settings import MergeSettings
from speechft.merging.stage import merge
from speechft.metrics.measures import direction, goodness
from speechft.probing.inputs import DataSet, read_data
from speechft.probing.job import store_of
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS as TASK_CLASSES
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune

DATA, BASE = "synthetic:study", "tiny-hubert"
TASKS: dict[str, dict[str, Any]] = {
    "sid": {"steps": 600, "learning_rate": 1e-3},
    "pr": {"steps": 400, "learning_rate": 5e-4},
    "er": {"steps": 400, "learning_rate": 5e-4},
}
TRAINED = 250  # utterances of each training split that probes see
STEPS = {"pr": 150, "sid": 400, "er": 400}  # of probes
MARGIN = 1.0
PLAIN = ("alpha 0.1", "alpha 0.25", "alpha 0.4", "alpha 0.5", "alpha 1")
CANDIDATES = (
    *("ramp 0..0.5", "ramp 0..1", "ramp 0.5..0", "rank 0.5, 0.1", "shift 0.5, 0.1"),
    *("quiet 0.5, 0.1", "trim 0.5, 0.2", "seeds 0.4", "near 0.25"),
)
# Study, task, row at alpha 0.25, and alpha → row.
SUITE = ("pr", "sid", "er", "sf")
FIRST = {task: TASK_CLASSES[task].metrics[0] for task in (*SUITE, "asr", "ic", "ks")}
KEPT = (
    ("ablations", "sid", "x0.25", {a: f"x{a}" for a in ("0.1", "0.5", "0.75", "1")}),
    *(("attempts-others", t, f"{t}-0.25", {"0.1": f"{t}-0.1"}) for t in ("ic", "ks")),
    ("attempts-others", "pr", "pr-0.25", {"0.5": "pr-0.5", "0.75": "pr-0.75", "1": "pr-tuned"}),
    *(
        ("supervised", task, f"{task}-speechft", {"1": f"{task}-stable"})
        for task in ("asr", "pr", "pc", "sf", "sid", "er", "ic", "ks")
    ),
)
Figures = dict[str, Any]
Weights = dict[str, Tensor]
Change = Callable[[Tensor, Tensor | None], Tensor]


def strongest(moved: Tensor, share: float, gram: Tensor | None = None) -> Tensor:
    """Give the part of a change (out, in) on its strongest output directions."""
    seen = moved if gram is None else moved @ root(gram)
    left = torch.linalg.svd(seen, full_matrices=False)[0]
    left = left[:, : max(1, round(share * left.shape[1]))]
    return left @ (left.T @ moved)


def loud(moved: Tensor, share: float, gram: Tensor) -> Tensor:
    """Give the part of a change (out, in) that the strongest directions of its inputs carry."""
    vectors = torch.linalg.eigh(gram)[1].flip(1)[:, : max(1, round(share * len(gram)))]
    return (moved @ vectors) @ vectors.T


def root(gram: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(gram)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def change_of(kind: str, alpha: float, share: float) -> Change:
    """Give what a candidate adds to a matrix θ0 (out, in), of its task vector and G (in, in)."""

    def change(moved: Tensor, gram: Tensor | None) -> Tensor:
        if kind == "rank":
            return alpha * strongest(moved, share)
        if gram is None:
            return 0.25 * moved
        if kind == "shift":
            return alpha * strongest(moved, share, gram)
        return alpha * moved + (0.25 - alpha) * loud(moved, share, gram)

    return change


def changed(base: Weights, tuned: Weights, grams: Mapping[str, Tensor], change: Change) -> Weights:
    """Change the matrices of the layers by a candidate; all else goes by a quarter."""
    made = {}
    for name, start in base.items():
        moved = (tuned[name] - start).double()
        matrix = moved.dim() == 2 and name.endswith(".weight") and ".layers." in name
        own = change(moved, grams.get(name)) if matrix else 0.25 * moved
        made[name] = (start.double() + own).to(start.dtype)
    return made


class Bench:
    """Makes and scores encoders; what is done is kept."""

    def __init__(self, work: Path) -> None:
        self.work, self.kept = work, KeptFeatures(2 << 30)
        self._grams: dict[str, Tensor] = {}

    def tuned(self, task: str, seed: int) -> Path:
        out = self.work / f"tuned-{task}-{seed}"
        own: Figures = {"seconds": 16, "head_size": "mini", "evaluate_every": 0, "threads": 1}
        own |= {"save_every": 1000, "seed": seed, "task": task, "data": DATA, **TASKS[task]}
        finetune(FinetuneSettings(encoder=BASE, out=out, **own))
        return out

    def make(self, name: str, task: str, seed: int) -> str:
        """Give the folder of a candidate's encoder."""
        if name == "θ0":
            return BASE
        kind, _, text = name.partition(" ")
        run = self.tuned(task, seed)
        out = self.work / f"{name.replace(' ', '-').replace(',', '')}-{task}-{seed}"
        own: Figures = {"base": BASE, "tuned": [run], "out": out, "dtype": "float32"}
        if kind in ("alpha", "ramp"):
            merge(MergeSettings(**own, alpha=text))
        elif kind == "seeds":
            merge(MergeSettings(**own | {"tuned": [run, self.tuned(task, seed + 1)]}, alpha=text))
        elif kind == "trim":
            alpha, density = text.split(", ")
            density = {"density": float(density)}
            merge(MergeSettings(**own, method="ties", alpha=alpha, parameters=density))
        elif kind == "near":
            place = out.with_name(f"{out.name}-choice")
            near: Figures = {"by_layer": True, "bound": float(text), "utterances": 30}
            choose_alpha(
                AlphaSettings(base=BASE, tuned=[run], data=DATA, out=place, device="cpu", **near)
            )
            merge(MergeSettings(**own, alpha=read_choice(place / CHOICE)["alpha"]))
        elif not out.exists():
            alpha, share = map(float, text.split(", "))
            self.encoder(kind, alpha, share, run).save(out)
        return str(out)

    def encoder(self, kind: str, alpha: float, share: float, run: Path) -> SpeechEncoder:
        encoder, end = load_encoder(BASE), load_encoder(run / "encoder")
        base = encoder.model.state_dict()
        made = changed(base, end.model.state_dict(), self.grams(), change_of(kind, alpha, share))
        encoder.model.load_state_dict(made)
        return encoder

    def grams(self) -> Mapping[str, Tensor]:
        """Give the mean of x xᵀ of every matrix's inputs, of two minutes of unlabelled speech."""
        if not self._grams:
            cuts = list(load_data(DATA)["train"])[:45]
            found, _ = gather_gram(load_encoder(BASE).eval(), map(load_waveform, cuts))
            self._grams = {name: torch.from_numpy(one).double() for name, one in found.items()}
        return self._grams

    def score(self, name: str, task: str, seed: int) -> Figures:
        """Give the first metric of every task on dev, as goodness."""
        label = "θ0" if name == "θ0" else f"{name}, {task}"
        done = self.work / f"{label.replace(' ', '-').replace(',', '')}-{seed}.json"
        if not done.exists():
            begun = time.process_time()
            encoder = load_encoder(self.make(name, task, seed)).eval()
            states = self.states(encoder)
            found = {
                own: probed(self.probe(own, seed), parts_of(states, self.data.names[own][:2])).good
                for own in TASKS
            }
            write_json(done, {"dev": found, "processor_seconds": time.process_time() - begun})
            note(f"{label}, seed {seed}: {found}")
        return read_json(done)

    @cached_property
    def data(self) -> DataSet:
        """The utterances; of the training splits the first ones."""
        data = read_data(DATA, tuple(TASKS))
        for name in {names[0] for names in data.names.values()}:
            data.splits[name] = list(data.splits[name])[:TRAINED]
            data.audio[name] = data.audio[name][:TRAINED]
        return data

    def probe(self, task: str, seed: int) -> Probing:
        """Give a task with its data and its probe's plan."""
        names = zip(("train", "dev"), self.data.names[task], strict=False)
        cuts = {part: self.data.splits[name] for part, name in names}
        plan = plan_for(task, self.settings)
        made = TASK_CLASSES[task].from_cuts(cuts["train"])
        return Probing(made, cuts, plan, "mini", seed, "cpu")

    @property
    def settings(self) -> EvaluateSettings:
        own: Figures = {"data": DATA, "tasks": tuple(TASKS), "steps": STEPS}
        return EvaluateSettings(encoders=[BASE], out=self.work, **own)

    def states(self, encoder: SpeechEncoder) -> Mapping[str, SplitStates]:
        """Give hidden states of the training and dev splits; front ends that are equal are shared.

        θ0's front end does not move in stable fine-tuning.
        """
        requests: dict[str, bool] = {}
        for task in TASKS:
            for name in self.data.names[task][:2]:
                requests[name] = requests.get(name, False) or not TASK_CLASSES[task].pooled
        cuts: dict[str, Cut] = {}
        for name in requests:
            cuts |= dict(zip(self.data.audio[name], self.data.splits[name], strict=True))
        keys = list(cuts)
        source = FrontEndCache(encoder, list(cuts.values()), 0, self.kept, keys)
        wanted = {
            name: Request([keys.index(key) for key in self.data.audio[name]], frames)
            for name, frames in requests.items()
        }
        store = store_of(self.settings)
        return store.open(encoder, source, wanted, encoder.content_id(), Passes())


def beside(scores: Figures, reference: Figures, task: str) -> dict[str, float]:
    """Give how much better a candidate is than the reference on its source task and elsewhere."""
    gains = {other: scores["dev"][other] - reference["dev"][other] for other in TASKS}
    return {"source": gains.pop(task), "others": fmean(gains.values())}


def kept(folder: Path) -> list[Figures]:
    """Give the measure of other alphas in kept studies: means over seeds, and deviations."""
    found = []
    for study, task, quarter, others in KEPT:
        values: dict[str, dict[tuple[int, str], float]] = {}
        for record in read_jsonl(folder / study / "measurements.jsonl"):
            if record["metric"] == FIRST.get(record["task"]):
                good = goodness(record["value"], direction(record["metric"]))
                values.setdefault(record["row"], {})[record["seed"], record["task"]] = good
        for alpha, row in others.items():
            gains = {key: value - values[quarter][key] for key, value in values[row].items()}
            seeds = sorted({seed for seed, _ in gains})
            parts = {"others": [fmean(gains[s, t] for t in SUITE if t != task) for s in seeds]}
            if (seeds[0], task) in gains:
                parts["source"] = [gains[seed, task] for seed in seeds]
            figures = {k: {"mean": fmean(v), "deviation": stdev(v)} for k, v in parts.items()}
            found.append({"study": study, "task": task, "alpha": alpha, **figures})
    return found


def measure(options: argparse.Namespace) -> Figures:
    bench, result = Bench(options.keep), {}
    names = options.only or ("θ0", *PLAIN, *CANDIDATES)
    for name in () if options.kept else names:
        rows = []
        for task, seed in ((t, s) for s in options.seeds for t in options.tasks):
            quarter = bench.score("alpha 0.25", task, seed)
            own = bench.score(name, task, seed)
            rows.append({"task": task, "seed": seed, **own, **beside(own, quarter, task)})
        result[name] = {k: fmean(r[k] for r in rows) for k in ("source", "others")} | {"rows": rows}
    about = {"data": DATA, "tuned_on": options.tasks, "seeds": options.seeds, "margin": MARGIN}
    about["kept"] = kept(Path(__file__).parents[1] / "results" / "studies")
    return {"machine": machine(1), **about, "candidates": result}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, required=True, help="folder for the work")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--kept", action="store_true", help="read kept studies alone")
    parser.add_argument("--only", nargs="+", help="names of candidates")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.keep.mkdir(parents=True, exist_ok=True)
    result = rounded(measure(options))
    if options.out is not None:
        write_json(options.out, result)
    for name, one in result["candidates"].items():
        sys.stdout.write(f"{name}: source {one['source']:+.2f}, others {one['others']:+.2f}\n")


if __name__ == "__main__":
    main()
