"""S3PRL's side of `benchmarks/losses.py`: its own runner, experts, data sets and optimisers.

`losses.py` says how to build the environment that this runs in. Nothing of what is compared is
replaced. Changed from outside are

- `Tensor.cuda`, which its ASV calls whatever the device, does nothing;
- `sox` and `catalyst`, which it imports and does not use here, are empty;
- its caches of file lists lie in the job's folder, not in the package;
- SID has as many classes as the tree has speakers, instead of the 1251 of VoxCeleb1;
- IEMOCAP's list is written by its own script, in the order of the list that it publishes.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.metadata
import json
import random
import sys
import types
from pathlib import Path

import torch
from s3prl_start import start, write_answer

LABELS: dict = {}  # S3PRL's own function, before it is changed
EMPTY = ("sox", "catalyst", "catalyst.data", "catalyst.data.sampler")


def make_importable() -> None:
    for name in EMPTY:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["sox"].Transformer = None
    sys.modules["catalyst.data.sampler"].DistributedSamplerWrapper = None
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor


def module(job: dict, name: str):
    return importlib.import_module(f"s3prl.downstream.{job['downstream']}.{name}")


def prepare(job: dict, folder: Path) -> None:
    """Keep S3PRL's caches out of its package; write IEMOCAP's list."""
    if job["task"] == "sid":
        data = module(job, "dataset")
        data.CACHE_PATH = str(folder)
        listed = LABELS.setdefault("sid", data.SpeakerClassifiDataset.build_label)

        def build_label(dataset, paths):
            dataset.speaker_num = job["speakers"]
            return listed(dataset, paths)

        data.SpeakerClassifiDataset.build_label = build_label
    elif job["task"] == "asv":
        module(job, "dataset").__file__ = str(folder / "dataset.py")
    elif job["task"] == "er":
        write_emotions(job)


def write_emotions(job: dict) -> None:
    """Let S3PRL's script write its lists, then sort them as those that it publishes."""
    data = job["config"]["downstream_expert"]["datarc"]
    module(job, "IEMOCAP_preprocess").main(data["root"])
    published = Path(data.pop("published"))
    for path in Path(data["meta_data"]).glob("*/*.json"):
        known = json.loads((published / path.relative_to(data["meta_data"])).read_text())
        ranks: dict[str, int] = {}
        for one in known["meta_data"]:
            ranks.setdefault(Path(one["path"]).parent.name, len(ranks))
        own = json.loads(path.read_text())
        own["meta_data"].sort(key=lambda one: (ranks[Path(one["path"]).parent.name], one["path"]))
        path.write_text(json.dumps(own))


def runner_of(job: dict, folder: Path, **own):
    """Make S3PRL's runner for a job."""
    runner = importlib.import_module("s3prl.downstream.runner").Runner
    return start(runner, job, folder, upstream=job["upstream"], **own)


def train(job: dict, folder: Path) -> dict:
    """Train a head; give where it began, and every batch with its loss."""
    runner = runner_of(job, folder, mode="train")
    expert = runner.downstream.model
    record = {
        "weights": {
            name: copy.deepcopy(entry.model.state_dict())
            for name, entry in (("featurizer", runner.featurizer), ("head", runner.downstream))
        },
        "outputs": outputs(job["task"], expert),
        "batches": [],
        "losses": [],
    }
    seen: list[str] = []
    if job["task"] == "sd":
        note_recordings(seen)
    forward = expert.forward

    def recorded(split, features, *others, **more):
        loss = forward(split, features, *others, **more)
        record["batches"].append(names(job["task"], others, seen))
        record["losses"].append(loss.item())
        return loss

    expert.forward = recorded
    random.seed(job.get("crops", job["seed"]))  # nothing else is drawn from it in training
    runner.train()
    return record


def note_recordings(seen: list[str]) -> None:
    """Note what is read for SD, whose batches carry no names."""
    dataset = importlib.import_module("s3prl.downstream.diarization.dataset").DiarizationDataset
    read = dataset.__getitem__

    def noted(data, index):
        name, begin, _ = data.chunk_indices[index]
        seen.append(f"{name}@{begin}")
        return read(data, index)

    dataset.__getitem__ = noted


def names(task: str, others: tuple, seen: list[str]) -> list[str]:
    """Give the names of a batch's utterances, as S3PRL's expert gets them."""
    if task == "sd":
        found = [seen.pop(0) for _ in others[0]]
    else:
        found = list(others[0] if task == "asv" else others[1])
    return [str(name) for name in found]


def outputs(task: str, expert) -> list[list[str]]:
    """Give what each output of a head stands for: [group, name]; empty where order says it."""
    if task in ("pr", "sf"):
        found = expert.tokenizer._vocab_list
        return [["", name] for name in [*found, *getattr(expert.tokenizer, "slots", ())]]
    if task == "asr":
        return [["", name] for name in expert.dictionary.symbols]
    if task == "ks":
        return [["", name] for name in sys.modules[type(expert).__module__].CLASSES]
    if task == "er":
        return [["", name] for _, name in sorted(expert.test_dataset.idx2emotion.items())]
    if task == "sid":
        numbers = range(expert.train_dataset.speaker_num)
        return [["", name] for name in expert.train_dataset.label2speaker(numbers)]
    if task == "ic":
        sizes = zip(("action", "object", "location"), expert.values_per_slot, strict=False)
        return [[slot, expert.Sy_intent[slot][n]] for slot, size in sizes for n in range(size)]
    return []


def search(job: dict, folder: Path) -> dict:
    """Search with every hidden state; give every query's normalised scores."""
    from lxml import etree

    found = []
    for state in range(job["states"]):
        runner = runner_of(
            job, folder, mode="evaluate", evaluate_split="dev", upstream_layer_selection=state
        )
        runner.evaluate()
        tree = etree.parse(str(folder / "benchmark.stdlist.xml"))
        found.append(
            {
                query.get("termid"): {term.get("file"): float(term.get("score")) for term in query}
                for query in tree.getroot()
            }
        )
    return {"scores": found}


def slots(job: dict) -> dict:
    """Score transcripts with S3PRL's functions."""
    metric = importlib.import_module("s3prl.downstream.ctc.metric")
    pairs = {"hypothesis": job["hypotheses"], "groundtruth": job["references"]}
    names = ("slot_type_f1", "slot_value_cer")
    return {name: 100 * getattr(metric, name)(**pairs) for name in names}


def run(job: dict) -> dict:
    if job["task"] == "slots":
        return slots(job)
    folder = Path(job["folder"])
    folder.mkdir(parents=True)
    torch.set_num_threads(job["threads"])
    prepare(job, folder)
    record = search(job, folder) if job["task"] == "qbe" else train(job, folder)
    torch.save(record, job["record"])
    sys.stderr.write(f"\ndone: {job['record']}\n")
    return {"batches": len(record.get("batches", ()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", help="a JSON file with a list of jobs")
    parser.add_argument("out", help="where their results go, as JSON")
    options = parser.parse_args()
    with open(options.jobs) as file:
        jobs = json.load(file)
    make_importable()
    results = [run(job) for job in jobs]
    write_answer(options.out, results, "dtw-python")


if __name__ == "__main__":
    main()
