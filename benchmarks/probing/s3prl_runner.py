"""S3PRL's side of `benchmarks/probe.py`: its own downstream runner, timed and counted.

Runs under the Python of the environment that `s3prl_side.py` describes, with this besides:

    s3prl-venv/bin/pip install "transformers<5" "huggingface_hub<1" tensorboardX pandas editdistance
    git clone https://github.com/s3prl/s3prl && git -C s3prl checkout ec8064b5
    cd s3prl/s3prl/downstream/ctc
    cp -r corpus ../../../../s3prl-venv/lib/python3*/site-packages/s3prl/downstream/ctc/

(the wheel of 0.4.18 lacks that folder). Nothing of S3PRL's training or scoring is replaced. Put
back are torchaudio's `load` (through soundfile) and an empty `sox_effects`; data loaders work in
the process itself, so that one thread is one thread; the encoder's forward is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import io
import json
import re
import sys
import time
import types
from itertools import pairwise
from pathlib import Path

import numpy
import soundfile
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader

sys.path.append(str(Path(__file__).parents[1]))

from s3prl_side import make_importable
from s3prl_start import start, write_answer

SCORE = re.compile(r"^(\w+) (\w+): ([-+.\deE]+)$")


class Count:
    """Utterances and calls of the encoder, seconds of updates and of evaluations."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, phase: str = "loading") -> None:
        self.phase = phase
        self.calls: dict[str, int] = {}
        self.utterances: dict[str, int] = {}
        self.updates: list[tuple[float, float]] = []
        self.evaluations: list[dict] = []
        self.away = (0.0, 0.0)

    def clocks(self) -> tuple[float, float]:
        """Wall and processor time, evaluations apart."""
        return time.perf_counter() - self.away[0], time.process_time() - self.away[1]

    def watch_encoder(self, forward):
        def counted(expert, wavs, *args, **kwargs):
            self.calls[self.phase] = self.calls.get(self.phase, 0) + 1
            self.utterances[self.phase] = self.utterances.get(self.phase, 0) + len(wavs)
            return forward(expert, wavs, *args, **kwargs)

        return counted

    def watch_evaluation(self, evaluate):
        def timed(runner, split=None, logger=None, global_step=0):
            outside, self.phase = self.phase, split or runner.args.evaluate_split
            begin, said = (time.perf_counter(), time.process_time()), io.StringIO()
            before = self.utterances.get(self.phase, 0)
            with contextlib.redirect_stdout(said):
                saved = evaluate(runner, split, logger, global_step)
            spent = (time.perf_counter() - begin[0], time.process_time() - begin[1])
            found = [SCORE.match(line) for line in said.getvalue().splitlines()]
            record = {
                "split": self.phase,
                "step": global_step,
                "utterances": self.utterances[self.phase] - before,
                "seconds": spent[0],
                "cpu_seconds": spent[1],
                "scores": {m[2]: float(m[3]) for m in found if m},
            }
            self.evaluations.append(record)
            self.away = (self.away[0] + spent[0], self.away[1] + spent[1])
            self.phase = outside
            return saved

        return timed


def import_runner(count: Count):
    """Import S3PRL's runner and put the counters in."""
    make_importable()
    import torchaudio

    effects = types.ModuleType("torchaudio.sox_effects")
    effects.apply_effects_tensor = effects.apply_effects_file = None
    sys.modules[effects.__name__] = torchaudio.sox_effects = effects
    torchaudio.load = load_audio
    runner = importlib.import_module("s3prl.downstream.runner").Runner
    runner.evaluate = count.watch_evaluation(runner.evaluate)
    expert = importlib.import_module("s3prl.upstream.hubert.expert").UpstreamExpert
    expert.forward = count.watch_encoder(expert.forward)
    ctc = importlib.import_module("s3prl.downstream.ctc.data")
    ctc.DataLoader = lambda *args, **kwargs: DataLoader(*args, **{**kwargs, "num_workers": 0})
    return runner


def load_audio(path, *_, **__):
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(numpy.ascontiguousarray(wave.T)), rate


def run(job: dict, runner, count: Count) -> dict:
    """Train one head as `run_downstream.py` does, then score the test split with the best one."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True)
    begin = time.perf_counter()
    trained = start(runner, job, job["folder"], mode="train")
    count.reset("train")
    hook = register_optimizer_step_post_hook(lambda *_: count.updates.append(count.clocks()))
    trained.train()
    hook.remove()
    count.phase = "loading"
    found = [folder / "dev-best.ckpt", *folder.glob("states-*.ckpt")]
    best = next(path for path in found if path.exists())
    start(runner, job, job["folder"], mode="evaluate", init_ckpt=str(best)).evaluate()
    pairs = list(pairwise(count.updates))
    return {
        "seconds": time.perf_counter() - begin,
        "update_seconds": [after[0] - before[0] for before, after in pairs],
        "update_cpu_seconds": [after[1] - before[1] for before, after in pairs],
        "evaluations": count.evaluations,
        "calls": {name: n for name, n in count.calls.items() if name != "loading"},
        "utterances": {name: n for name, n in count.utterances.items() if name != "loading"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", help="a JSON file with a list of jobs")
    parser.add_argument("out", help="where their results go, as JSON")
    options = parser.parse_args()
    with open(options.jobs) as file:
        jobs = json.load(file)
    count = Count()
    runner = import_runner(count)
    results = []
    for job in jobs:
        torch.set_num_threads(job["threads"])
        results.append(run(job, runner, count))
    write_answer(options.out, results)


if __name__ == "__main__":
    main()
