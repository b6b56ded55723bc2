"""Ways to go from θ0 towards θ' beyond one alpha, on synthetic and on human speech.

    python benchmarks/candidates.py --keep work --out results/benchmarks/candidates.json
    python benchmarks/candidates.py --bench human --encoder data/whisper-base-encoder \\
        --data data/human --keep work-human --out results/benchmarks/candidates-human.json

θ' is θ0 after stable fine-tuning on one task: of synthetic:study with the updates and rates of
`studies/supervised.yaml`, where θ0 is the packaged encoder; or of the Czech dialogue with those of
`studies/human.yaml`, where θ0 is Whisper base's encoder. Every candidate makes an encoder of θ0 and
θ', which probes of three tasks score on the dev splits; they see fewer utterances of each training
split and have fewer updates than usual (`Setting`). No test split is scored. The measure, defined
before anything was measured: *source* is the gain over alpha 0.25 on the task that θ' was tuned on,
and *others* that on the mean of the other tasks, both of first metrics, errors as 100 − e. A
candidate earns its place where *others* is no lower than −1 point (the margin) in the mean over
tasks and seeds, and *source* is higher than for any plain alpha of which the same is true. Beside
each gain stands its 95 % interval over the items of dev (bootstrap, paired with alpha 0.25), which
holds none of the chance of θ' and of the probes: with one seed it tells what would be another
draw of items, and nothing more.

A call goes on where an earlier one with the same `--keep` ended, and the record holds all that is
kept; `--only` names candidates, `--tasks` what θ' was tuned on. `--tuned TASK=RUN` takes a
fine-tuning of the study that is done, and its seed, in the place of one of its own.

`--kept` alone measures nothing: it reads what studies of the same setting have kept of other
alphas, with three seeds and whole probes, by the same measure, on the test splits that they show.

Candidates, with the one parameter of each in its name:

- `alpha A`: plain interpolation. What comes to it with one θ' stands in docs/merging.md.
- `ramp A..B`: alpha from the first to the last layer (LiNeS).
- `tiers A, B`: alpha A for the layers whose effective rank of θ0 over that of θ' − θ0 is above the
  median, B for the others (the part of LARV that says something of one θ').
- `rank A, R`: alpha A on that share R of the singular directions of every matrix's task vector.
- `shift A, R`: alpha A on that share of the directions of its outputs on unlabelled speech that
  move most (in the manner of ESM): the left singular vectors of (θ' − θ0) G^½, G the mean of x xᵀ
  over the inputs x, with θ0.
- `quiet A, R`: alpha A on what the other share of the *inputs'* principal directions carries, and
  0.25 on the strongest R of them, which speech as such uses most.
- `outside A, R`: alpha A on what lies outside of θ0's strongest singular directions (OPCM's
  projection, θ0 in the place of what was merged before).
- `weighed A, R`: alpha A with every singular value s times s² / (s² + λ), λ R times their mean
  square (ACE's covariance of θ', beside a θ0 that has none).
- `regmean A`: RegMean with weights 1 − A of θ0 and A of θ', each with its own inputs' G.
- `trim A, R`: alpha A on the largest share R of the weights' changes (TIES with one θ').
- `seeds A`: alpha A towards the mean of the θ' of two seeds.
- `near B`: an alpha for every layer by the drift of its hidden states (`--alpha auto`, by layer).
- `gates A`, `layers A`: gates on the singular values of every matrix's task vector (SVR), one
  coefficient for every layer (AdaLTM), learned with θ's head from 32 labelled utterances while the
  hidden states drift no further from θ0's than at plain alpha A.
- `attention A`: alpha A on the matrices of attention alone, 0.25 elsewhere.
- `sam A`, `replay A`: alpha A towards a θ' of another stage 1: a gradient that is taken at the
  worst point nearby (SAM), or a fifth of the batches that hold the hidden states at θ0's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lhotse.cut import Cut
from probe import machine, note
from probing.figures import rounded
from torch import Tensor
from ways.flat import Flat
from ways.learned import Batch, Way, learn
from ways.matrices import change_of, changed, effective_rank, is_matrix

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
from speechft.metrics.per_item import drawn_anew
from speechft.metrics.statistics import percentile_interval
from speechft.probing.inputs import DataSet, read_data
from speechft.probing.job import store_of
from speechft.probing.protocol import plan_for
from speechft.probing.settings import EvaluateSettings
from speechft.tasks import TASKS as TASK_CLASSES
from speechft.tasks.kept_head import choose_head, find_heads, read_head
from speechft.training.finetune.settings import FinetuneSettings
from speechft.training.finetune.stage import finetune

Figures = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A bench: θ0, speech, and how θ' and the probes are trained.

    Attributes:
        base, data: ENCODER and DATA.
        sources: task that θ' may be tuned on → settings of that.
        tuning: further settings of all of them.
        steps: task that is probed → updates of its probe.
        trained: utterances of each training split that probes see.
        probing: further settings of the probes.
        context: of the encoder.
        speech: DATA of other speech, without labels.
    """

    base: str
    data: str
    sources: Mapping[str, Figures]
    tuning: Figures
    steps: Mapping[str, int]
    trained: int
    speech: str
    probing: Figures = field(default_factory=dict)
    context: Any = None


def synthetic() -> Setting:
    sources: dict[str, Figures] = {
        "sid": {"steps": 600, "learning_rate": 1e-3},
        "pr": {"steps": 400, "learning_rate": 5e-4},
        "er": {"steps": 400, "learning_rate": 5e-4},
    }
    steps = {"pr": 150, "sid": 400, "er": 400}
    tuning = {"seconds": 16}
    return Setting(
        "tiny-hubert", "synthetic:study", sources, tuning, steps, 250, "synthetic:elsewhere"
    )


def human(encoder: str, root: str) -> Setting:
    sources: dict[str, Figures] = {
        "sid": {"steps": 300, "learning_rate": 1e-4, "head_learning_rate": 1e-4},
        "asr": {"steps": 600, "learning_rate": 1e-4, "head_learning_rate": 1e-3},
    }
    tuning = {"seconds": 24, "precision": "bf16", "context": "utterance"}
    probing = {"precision": "bfloat16", "frame_dtype": "float16", "context": "utterance"}
    probing |= {"normalize": True}  # as in studies/human.yaml: heads for text leave their plateau
    steps = {"pr": 400, "asr": 800, "sid": 400}
    data = f"fillets:{root}@cs"
    return Setting(
        encoder, data, sources, tuning, steps, 400, f"prompts:{root}", probing, "utterance"
    )


MARGIN = 1.0
PLAIN = tuple(f"alpha {a}" for a in (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 1))
CANDIDATES = (
    *("ramp 0..0.5", "ramp 0..1", "ramp 0.5..0", "tiers 0.5, 0.1", "rank 0.5, 0.1"),
    *("shift 0.5, 0.1", "quiet 0.5, 0.1", "outside 0.5, 0.5", "weighed 1, 1", "regmean 0.25"),
    *("trim 0.5, 0.2", "seeds 0.4", "near 0.25", "gates 0.25", "layers 0.25", "attention 0.5"),
    *("sam 0.25", "replay 0.5"),
)
LEARNED, BATCH = 32, 4  # labelled utterances that gates and layers learn from, and in a batch
STAGES = ("sam", "replay")  # candidates with a stage 1 of their own
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


class Bench:
    """Makes and scores encoders; what is done is kept.

    Args:
        setting: of the bench.
        work: folder of all that is made.
        given: task → the folder of a fine-tuning that is done.
    """

    def __init__(self, setting: Setting, work: Path, given: Mapping[str, Path]) -> None:
        self.setting, self.work, self.given = setting, work, given
        self.kept, self.learning = KeptFeatures(2 << 30), {}

    def tuned(self, task: str, seed: int, stage: str = "") -> Path:
        """Give the folder of θ'; `stage` names another stage 1."""
        if not stage and task in self.given:
            known = read_json(self.given[task] / "speechft.json")["depends"]
            if (known["task"], known["seed"]) != (task, seed):
                raise SystemExit(f"{self.given[task]} is {known['task']}, seed {known['seed']}")
            return self.given[task]
        out = self.work / "-".join(("tuned", task, str(seed), *([stage] if stage else [])))
        own: Figures = {"head_size": "mini", "evaluate_every": 0, "threads": 1, "save_every": 1000}
        own |= {"seed": seed, "task": task, "data": self.setting.data}
        own |= self.setting.tuning | self.setting.sources[task]
        if stage == "replay":
            own |= {"method": "replay", "rehearsal_share": 0.2}
            own["rehearsal_data"] = self.setting.speech
        settings = FinetuneSettings(encoder=self.setting.base, out=out, **own)
        if stage == "sam":
            with patch("speechft.training.finetune.run.FineTuning", Flat):
                finetune(settings)
        else:
            finetune(settings)
        return out

    def load(self, name: str | Path) -> SpeechEncoder:
        return load_encoder(name, context=self.setting.context)

    def make(self, name: str, task: str, seed: int) -> str:
        """Give the folder of a candidate's encoder."""
        base = self.setting.base
        if name == "θ0":
            return base
        kind, _, text = name.partition(" ")
        run = self.tuned(task, seed, kind if kind in STAGES else "")
        out = self.work / f"{file_name(name)}-{task}-{seed}"
        own: Figures = {"base": base, "tuned": [run], "out": out, "dtype": "float32"}
        if kind in ("alpha", "ramp", *STAGES):
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
            near |= {"data": self.setting.data, "context": self.setting.context, "out": place}
            choose_alpha(AlphaSettings(base=base, tuned=[run], device="cpu", **near))
            merge(MergeSettings(**own, alpha=read_choice(place / CHOICE)["alpha"]))
        elif kind == "tiers":
            merge(MergeSettings(**own, alpha=self.tiers(run, *map(float, text.split(", ")))))
        elif not out.exists():
            start, end = self.load(base), self.load(run / "encoder")
            if kind in ("gates", "layers"):
                made = self.learned(start, end, kind, float(text), run)
            else:
                numbers = map(float, text.split(", "))
                grams = (start, end) if kind in ("shift", "quiet", "regmean") else ()
                made = changed(
                    *(one.model.state_dict() for one in (start, end)),
                    *([self.grams(one) for one in grams] or [{}, {}]),
                    change_of(kind, *numbers),
                )
            start.model.load_state_dict(made)
            start.save(out)
        return str(out)

    def tiers(self, run: Path, high: float, low: float) -> str:
        """Give the alphas of layers by the effective rank of θ0 over that of θ' − θ0."""
        start, end = (self.load(n).model.state_dict() for n in (self.setting.base, run / "encoder"))
        ratios: dict[int, list[float]] = {}
        for name, value in start.items():
            if is_matrix(name, value):
                layer = int(name.partition("layers.")[2].partition(".")[0])
                ratio = effective_rank(value) / effective_rank(end[name] - value)
                ratios.setdefault(layer, []).append(ratio)
        means = [fmean(ratios[layer]) for layer in sorted(ratios)]
        note(f"effective ranks, θ0 over θ' − θ0, by layer: {[round(one, 2) for one in means]}")
        return "..".join(str(high if one > median(means) else low) for one in means)

    def learned(
        self, start: SpeechEncoder, end: SpeechEncoder, kind: str, alpha: float, run: Path
    ) -> dict[str, Tensor]:
        """Learn gates, or coefficients of layers, with θ's head."""
        head = read_head(choose_head(find_heads(run), None))
        cuts = self.data.splits[self.data.names[head.task.id][0]]
        cuts = cuts[:: max(1, len(cuts) // LEARNED)][:LEARNED]
        batches = [
            Batch([load_waveform(c) for c in part], [head.task.target(c) for c in part])
            for part in (cuts[i : i + BATCH] for i in range(0, len(cuts), BATCH))
        ]
        way = Way(start.model.state_dict(), end.model.state_dict(), kind, alpha)
        head.module.requires_grad_(False)
        self.learning = learn(
            start, way, batches, lambda out, t: head.task.loss(head(out), out.lengths, t)
        )
        return {name: value.detach() for name, value in way.weights().items()}

    def grams(self, encoder: SpeechEncoder) -> dict[str, Tensor]:
        """Give the mean of x xᵀ of every matrix's inputs, of two minutes of unlabelled speech."""
        cuts = list(load_data(self.setting.data)["train"])[:45]
        found, _ = gather_gram(encoder.eval(), map(load_waveform, cuts))
        return {name: torch.from_numpy(one).double() for name, one in found.items()}

    def score(self, name: str, task: str, seed: int) -> Figures:
        """Give the first metric of every task on dev, as goodness, and what its items add to it."""
        label = file_name(name) if name == "θ0" else f"{file_name(name)}-{task}"
        done = self.work / f"scored-{label}-{seed}.json"
        if not done.exists():
            begun = time.process_time()
            encoder = self.load(self.make(name, task, seed)).eval()
            made, states, found = time.process_time() - begun, self.states(encoder), {}
            for own in self.setting.steps:
                found[own] = probed(
                    self.probe(own, seed), parts_of(states, self.data.names[own][:2])
                )
            figures: Figures = {"candidate": name, "task": task, "seed": seed}
            figures["dev"] = {own: one.good for own, one in found.items()}
            figures["items"] = {own: [one.metric, one.parts.tolist()] for own, one in found.items()}
            if self.learning:
                figures["learning"], self.learning = self.learning, {}
            seconds = {"making": made, "all": time.process_time() - begun}
            write_json(done, figures | {"processor_seconds": seconds})
            note(f"{name}, {task}, seed {seed}: {figures['dev']}, {seconds['all']:.0f} s")
        return read_json(done)

    @cached_property
    def data(self) -> DataSet:
        """The utterances; of the training splits some, at equal distances."""
        data = read_data(self.setting.data, tuple(self.setting.steps))
        for name in {names[0] for names in data.names.values()}:
            cuts, keys = list(data.splits[name]), data.audio[name]
            chosen = np.linspace(0, len(cuts) - 1, min(len(cuts), self.setting.trained)).astype(int)
            data.splits[name] = [cuts[i] for i in chosen]
            data.audio[name] = [keys[i] for i in chosen]
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
        own: Figures = {"data": self.setting.data, "tasks": tuple(self.setting.steps)}
        own |= {"steps": dict(self.setting.steps), **self.setting.probing}
        return EvaluateSettings(encoders=[self.setting.base], out=self.work, **own)

    def states(self, encoder: SpeechEncoder) -> Mapping[str, SplitStates]:
        """Give hidden states of the training and dev splits; front ends that are equal are shared.

        θ0's front end does not move in stable fine-tuning.
        """
        requests: dict[str, bool] = {}
        for task in self.setting.steps:
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


def file_name(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def beside(own: Figures, reference: Figures) -> Figures:
    """Give how much better a candidate is than the reference on its source task and elsewhere.

    Of each the gain, and its 95 % interval over items that are drawn anew, the same for both.
    """
    task, found = own["task"], {}
    others = [other for other in own["dev"] if other != task]
    for name, tasks in (("source", [task]), ("others", others)):
        if name == "source" and task not in own["dev"]:
            continue
        gains = [own["dev"][one] - reference["dev"][one] for one in tasks]
        draws = [drawn(own["items"][one]) - drawn(reference["items"][one]) for one in tasks]
        interval = percentile_interval(np.mean(draws, axis=0))
        found[name] = fmean(gains)
        found[f"{name}_interval"] = None if interval is None else [interval.low, interval.high]
    return found


def drawn(items: Sequence[Any]) -> np.ndarray:
    """Give a metric, as goodness, of items that are drawn anew."""
    metric, parts = items
    values = drawn_anew(metric, np.asarray(parts))
    return np.maximum(values if direction(metric) == "higher" else 100 - values, 0)


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
    setting = human(options.encoder, options.data) if options.bench == "human" else synthetic()
    bench = Bench(setting, options.keep, dict(options.tuned))
    names = options.only or ("θ0", *PLAIN, *CANDIDATES)
    for name in () if options.kept else names:
        for task, seed in ((t, s) for s in options.seeds for t in options.tasks):
            bench.score(name, task, seed)
    about = {"data": "fillets@cs" if options.bench == "human" else setting.data, "margin": MARGIN}
    about |= {"trained": setting.trained, "steps": dict(setting.steps)}
    if options.bench == "synthetic":
        about["kept"] = kept(Path(__file__).parents[1] / "results" / "studies")
    return {"machine": machine(1), **about, "candidates": list(rows(options.keep))}


def rows(work: Path) -> Iterator[Figures]:
    """Give all that is kept beside alpha 0.25 of the same task and seed, as the lists above go."""
    order = ["θ0", *PLAIN, *CANDIDATES]
    found = [read_json(path) for path in work.glob("scored-*.json")]
    place = {one: number for number, one in enumerate(order)}
    quarter = {(o["task"], o["seed"]): o for o in found if o["candidate"] == "alpha 0.25"}
    starts = {o["seed"]: o for o in found if o["candidate"] == "θ0"}
    found = [one for one in found if one["candidate"] != "θ0"]
    found += [starts[seed] | {"task": task} for task, seed in quarter if seed in starts]
    for one in sorted(
        found, key=lambda o: (o["task"], place.get(o["candidate"], 99), o["candidate"], o["seed"])
    ):
        key = one["task"], one["seed"]
        if key in quarter:
            shown = {name: value for name, value in one.items() if name != "items"}
            yield shown | beside(one, quarter[key])


def pair(text: str) -> tuple[str, Path]:
    task, _, folder = text.partition("=")
    return task, Path(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, required=True, help="folder for the work")
    parser.add_argument("--bench", choices=("synthetic", "human"), default="synthetic")
    parser.add_argument("--encoder", help="folder of Whisper base's encoder, for human speech")
    parser.add_argument("--data", help="where the packages of human speech lie")
    parser.add_argument("--tasks", nargs="+", default=["sid"], help="that θ' is tuned on")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tuned", nargs="+", type=pair, default=[], help="TASK=RUN")
    parser.add_argument("--kept", action="store_true", help="read kept studies alone")
    parser.add_argument("--only", nargs="+", help="names of candidates")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    if options.bench == "human" and None in (options.encoder, options.data):
        parser.error("human speech needs --encoder and --data")
    torch.set_num_threads(1)
    options.keep.mkdir(parents=True, exist_ok=True)
    result = rounded(measure(options))
    if options.out is not None:
        write_json(options.out, result)
    for one in result["candidates"]:
        gains = (
            f"{name} {one[name]:+.2f} {one[name + '_interval']}"
            for name in ("source", "others")
            if name in one
        )
        sys.stdout.write(f"{one['candidate']}, {one['task']}, {one['seed']}: {', '.join(gains)}\n")


if __name__ == "__main__":
    main()
